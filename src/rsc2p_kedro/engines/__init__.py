"""What can do the numerical work, picked by name in the parameters of a stage."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsc2p_kedro.core.parameters import CaimanSettings, EngineName
    from rsc2p_kedro.engines.protocol import Engine


def get_engine(name: "EngineName", caiman: "CaimanSettings") -> "Engine":
    """The engine of that name.

    Engines are imported here and not above: their algorithms import :mod:`.results` from this package.

    Args:
        name: `embedded` or `caiman`.
        caiman: where the user's CaImAn is, if that is the engine.
    """
    if name == "caiman":
        from rsc2p_kedro.engines.caiman import CaimanEngine

        return CaimanEngine(caiman)
    from rsc2p_kedro.engines.embedded import EmbeddedEngine

    return EmbeddedEngine()
