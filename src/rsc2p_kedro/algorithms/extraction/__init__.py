"""Sources of a movie: footprints, traces and spikes of its neurons, and the background between them."""

from rsc2p_kedro.algorithms.extraction.cnmf import fit, refit

__all__ = ["fit", "refit"]
