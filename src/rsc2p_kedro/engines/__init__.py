"""What can do the numerical work, picked by name in the parameters of a stage."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsc2p_kedro.engines.protocol import Engine

_ENGINES = {"embedded": ("rsc2p_kedro.engines.embedded", "EmbeddedEngine")}


def get_engine(name: str) -> "Engine":
    """The engine of that name.

    It is imported here and not above: its algorithms import :mod:`.results` from this package, and another engine's
    libraries may not be there.
    """
    module, engine = _ENGINES[name]
    return getattr(import_module(module), engine)()
