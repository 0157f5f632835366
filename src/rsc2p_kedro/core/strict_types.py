"""Refusal of silent conversions: `yes` is no number, 1.7 no integer, "3" no number and 1557131400 no date.

Pydantic converts between kinds of values where that succeeds, and YAML turns `yes` and `on` into booleans, so that a
slip of the pen became a value: `frame_rate_hz: yes` was 1 Hz. Pydantic's strict mode, on the other hand, also refuses
what YAML cannot write in another way (texts for paths and dates, lists for tuples, 6 or 6.0 for either kind of number).
So conversions are judged by their outcome: the *kind* of a value must not change.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from numbers import Real
from typing import Any


def check_conversion(given: Any, converted: Any) -> None:
    """Refuses a value whose kind has changed when it was validated.

    Args:
        given: the value as it was read.
        converted: the value after validation. Sequences and mappings are compared item by item.

    Raises:
        ValueError: a boolean or text became a number, a number or text became a boolean, or a number became a date.
    """
    if isinstance(converted, Mapping) and isinstance(given, Mapping):
        for name in converted.keys() & given.keys():
            check_conversion(given[name], converted[name])
    elif isinstance(converted, list | tuple) and isinstance(given, list | tuple):
        for before, after in zip(given, converted, strict=False):
            check_conversion(before, after)
    elif isinstance(converted, bool):
        if not isinstance(given, bool):
            raise ValueError(f"should be true or false, is {_describe(given)}")
    elif isinstance(converted, Real):
        if isinstance(given, bool) or not isinstance(given, Real):
            raise ValueError(f"should be a number, is {_describe(given)}")
    elif isinstance(converted, date) and not isinstance(given, date):
        _check_date(given)


def _describe(value: Any) -> str:
    """The value, and what YAML made of it."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (YAML reads yes, no, on and off as true and false)"
    if isinstance(value, str):
        return f"the text '{value}': write it without quotes"
    return repr(value)


def _check_date(given: Any) -> None:
    """Refuses a date that pydantic has made of a number, which it takes as seconds since 1970."""
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        return
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        moment = datetime.min.replace(tzinfo=UTC)
    is_recent = datetime(1980, 1, 1, tzinfo=UTC) < moment <= datetime.now(UTC)
    hint = f"if these are seconds since 1970, write {moment.isoformat()}" if is_recent else "write it as 2019-05-06"
    raise ValueError(f"should be a date, is the number {given}: {hint}")
