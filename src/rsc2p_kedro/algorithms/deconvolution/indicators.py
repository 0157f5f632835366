"""Delay of fluorescence after a spike, by the class of the calcium indicator.

Fluorescence of GCaMP rises over several binding steps, and the more slowly the more slowly it decays; synthetic dyes
and red indicators rise within a frame. On six public sets of neurons with known spikes and such indicators (Rupprecht
et al. 2021, doi 10.1038/s41593-021-00895-5), the correlation of rates with spike counts is higher without a delay by
0.06 at a smoothing of 25 ms, 0.04 at 50 ms, 0.01 at 100 ms and 0.003 at 200 ms, on six others that took no part in that
choice by 0.04, 0.06, 0.03 and 0.015; it is lower by up to 0.07 on one of these (R-CaMP, DS18).
"""

import re

GCAMP_DELAY = 0.045
"""From a spike to the middle of the rise of GCaMP, in decay times of the trace. Chosen on GCaMP6 with known spikes."""
_FAST = re.compile(
    r"\b(ogb|oregon|cal[- ]?\d+|calbryte|calcium[ -]?green|fluo|fura|rhod|asante|indo)"
    r"|rcamp|rgeco|r-?camp|geco|red",
    re.IGNORECASE,
)
"""Synthetic dyes, and red genetic indicators."""


def usual_delay(indicator: str | None) -> float:
    """The delay that is used where none is given.

    Args:
        indicator: its name, such as `jGCaMP7f` or `Cal-520`; None where it is not known.

    Returns:
        From a spike to the middle of the rise of fluorescence, in decay times: 0 for synthetic dyes and red indicators,
        `GCAMP_DELAY` for all others.
    """
    return 0.0 if indicator and _FAST.search(indicator) else GCAMP_DELAY
