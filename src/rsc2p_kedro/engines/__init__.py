"""What can do the numerical work, picked by name in the parameters of a stage."""

from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.engines.protocol import Engine
from rsc2p_kedro.parameters import EngineName

_ENGINES: dict[str, type[Engine]] = {"embedded": EmbeddedEngine}


def get_engine(name: EngineName) -> Engine:
    """The engine of that name."""
    return _ENGINES[name]()
