"""Deconvolution of fluorescence traces (OASIS) and inference of spike rates (posterior mean)."""

from rsc2p_kedro.algorithms.deconvolution.autoregressive import ar_to_decay, decay_to_ar, estimate_ar, estimate_noise
from rsc2p_kedro.algorithms.deconvolution.oasis import Deconvolution, deconvolve
from rsc2p_kedro.algorithms.deconvolution.posterior import infer_spikes, infer_spikes_of_all

__all__ = [
    "Deconvolution",
    "ar_to_decay",
    "decay_to_ar",
    "deconvolve",
    "estimate_ar",
    "estimate_noise",
    "infer_spikes",
    "infer_spikes_of_all",
]
