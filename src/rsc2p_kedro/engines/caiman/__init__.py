"""CaImAn as an engine, in this process or in a separate Python environment.

:mod:`.engine` implements the engine, :mod:`.mapping` converts parameters, :mod:`.conversions` converts arrays,
:mod:`.exchange` sends requests to CaImAn, and :mod:`.worker` processes them in CaImAn's environment.
"""

from rsc2p_kedro.engines.caiman.engine import CaimanEngine
from rsc2p_kedro.engines.caiman.exchange import CaimanError, caiman_problem

__all__ = ["CaimanEngine", "CaimanError", "caiman_problem"]
