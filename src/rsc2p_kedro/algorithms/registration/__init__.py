"""Registration: the motion of a movie, estimated against a template and taken out of it."""

from rsc2p_kedro.algorithms.registration.motion import apply_motion, estimate_motion
from rsc2p_kedro.algorithms.registration.quality import motion_quality

__all__ = ["apply_motion", "estimate_motion", "motion_quality"]
