"""The same neurons over the sessions of one animal: alignment, matching, and ids that stay."""

from rsc2p_kedro.algorithms.tracking.tracking import track_neurons

__all__ = ["track_neurons"]
