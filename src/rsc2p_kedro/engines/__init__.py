"""Engines, which do the numerical work: the embedded one and CaImAn, selected by the parameter `engine` of a stage.

Imports `algorithms`, `simulation` and `core`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsc2p_kedro.core.parameters import CaimanSettings, EngineName
    from rsc2p_kedro.engines.protocol import Engine


def get_engine(name: "EngineName", caiman: "CaimanSettings") -> "Engine":
    """Selects an engine by its name.

    The engine is imported when it is selected, so that importing this package loads no kernels.

    Args:
        name: `embedded` or `caiman`.
        caiman: where CaImAn is installed; used by `caiman` only.

    Returns:
        The engine. CaImAn itself is not searched for before it is needed.
    """
    if name == "caiman":
        from rsc2p_kedro.engines.caiman import CaimanEngine

        return CaimanEngine(caiman)
    from rsc2p_kedro.engines.embedded import EmbeddedEngine

    return EmbeddedEngine()
