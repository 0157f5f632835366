"""Source extraction: footprints, traces and spikes of the neurons in a movie, and the background between them."""

from rsc2p_kedro.algorithms.extraction.cnmf import fit
from rsc2p_kedro.algorithms.extraction.refit import refit

__all__ = ["fit", "refit"]
