"""Motion correction in the group `processing/ophys`: shifts of frames and patches, and the corrected movie."""

from collections.abc import Mapping
from typing import Any

from hdmf.common import DynamicTable, VectorData
from pynwb import ProcessingModule, TimeSeries
from pynwb.image import ImageSeries
from pynwb.ophys import CorrectedImageStack, MotionCorrection, TwoPhotonSeries

from rsc2p_kedro.algorithms.blocks import Movie
from rsc2p_kedro.core import results
from rsc2p_kedro.nwb.acquisition import UNIT
from rsc2p_kedro.nwb.iterators import MovieIterator, compressed
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.orientation import XY_AXES, points_to_nwb


def add_motion(
    ophys: ProcessingModule,
    motion: results.MotionCorrection,
    corrected_movie: Movie,
    *,
    original: TwoPhotonSeries | None,
    parameters: NwbParameters,
    times: Mapping[str, Any],
    suffix: str = "",
) -> None:
    """Adds the shifts of whole frames, those of patches where there are patches, and the corrected movie if wanted.

    Args:
        ophys: the module `processing/ophys`.
        motion: shifts as (dy, dx) in px, to be applied to each frame.
        corrected_movie: (T, H, W), lazy.
        original: series of the raw movie, which a corrected movie must point to.
        parameters: `corrected` embeds the corrected movie or leaves it out (`none`).
        times: fields of a series that hold its times (see :class:`~rsc2p_kedro.nwb.timing.Timing`).
        suffix: end of the names, which tells the plane where there are several.
    """
    rigid = TimeSeries(
        name=f"xy_translation{suffix}",
        description="Rigid shift (x, y) in px that is applied to each frame to align it to the template.",
        data=compressed(points_to_nwb(motion.shifts), parameters.compression),
        unit="pixels",
        **times,
    )
    if parameters.corrected == "embed":
        movie = ImageSeries(
            name="corrected",
            description=f"The movie after motion correction. {XY_AXES}",
            data=compressed(MovieIterator(corrected_movie), parameters.compression),
            unit=UNIT,
            **times,
        )
        stack = CorrectedImageStack(
            name="CorrectedImageStack", corrected=movie, original=original, xy_translation=rigid
        )
        ophys.add(MotionCorrection(name=f"MotionCorrection{suffix}", corrected_image_stacks=[stack]))
    else:
        ophys.add(rigid)
    if motion.piecewise:
        _add_patch_shifts(ophys, motion, parameters, times, suffix)


def _add_patch_shifts(
    ophys: ProcessingModule,
    motion: results.MotionCorrection,
    parameters: NwbParameters,
    times: Mapping[str, Any],
    suffix: str,
) -> None:
    """Adds the shifts of patches as a series, and the centres of the patches as a table."""
    ophys.add(
        TimeSeries(
            name=f"piecewise_xy_translation{suffix}",
            description="Total shift (x, y) in px that is applied at the centre of each patch. Axes: (time, patch, "
            "xy); the patches are the rows of motion_correction_patches.",
            data=compressed(points_to_nwb(motion.patch_shifts), parameters.compression),
            unit="pixels",
            **times,
        )
    )
    centres = points_to_nwb(motion.patch_centres)
    columns = [
        VectorData(name="x", description="Column of the patch centre in px.", data=centres[:, 0].copy()),
        VectorData(name="y", description="Row of the patch centre in px.", data=centres[:, 1].copy()),
    ]
    ophys.add(
        DynamicTable(
            name=f"motion_correction_patches{suffix}",
            description="Patches of the frame, each of which was registered separately.",
            columns=columns,
        )
    )
