"""Motion correction: piecewise-rigid registration of a movie to a template made from it.

The motion of each frame is a smooth displacement field with one value at the centre of each patch of NoRMCorre's grid
(Pnevmatikakis & Giovannucci 2017, doi 10.1016/j.jneumeth.2017.07.031). `docs/methods_registration.md` describes the
method and its accuracy.
"""

from rsc2p_kedro.algorithms.registration.motion import apply_motion, estimate_motion
from rsc2p_kedro.algorithms.registration.quality import motion_quality

__all__ = ["apply_motion", "estimate_motion", "motion_quality"]
