"""CaImAn as an engine: the user's own, in this process or in an environment of its own.

`engine.py` is the engine; `mapping.py` knows CaImAn's parameters, `conversions.py` its conventions, `exchange.py` the
way to it and back, and `worker.py` is what runs there.
"""

from rsc2p_kedro.engines.caiman.engine import CaimanEngine
from rsc2p_kedro.engines.caiman.exchange import CaimanError, caiman_problem

__all__ = ["CaimanEngine", "CaimanError", "caiman_problem"]
