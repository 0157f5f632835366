"""The group `acquisition`: the raw movie, inside the file or as links to its TIFFs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pynwb import NWBFile
from pynwb.ophys import ImagingPlane, TwoPhotonSeries

from rsc2p_kedro.algorithms.blocks import Movie
from rsc2p_kedro.nwb.iterators import MovieIterator, compressed
from rsc2p_kedro.nwb.metadata import NwbParameters, RecordingMetadata
from rsc2p_kedro.nwb.orientation import XY_AXES, points_to_nwb
from rsc2p_kedro.nwb.timing import Timing

UNIT = "a.u."
"""Unit of movies, and of traces in the units of a movie: counts of the detector, which are not calibrated."""


@dataclass(frozen=True)
class Links:
    """Links to the TIFFs of the raw movie, instead of a copy of it.

    A link shows all frames of a TIFF, which may be more than were used: where the recording's `frames` cut a stack, the
    linked movie begins before the first frame that was used and ends after the last one, and its times are shifted
    accordingly.

    Attributes:
        paths: absolute paths of the TIFFs, in reading order.
        starting_frames: for each TIFF, the index of its first frame in the linked movie.
        n_frames: number of frames in all TIFFs together.
        n_before: number of frames of the first TIFF before the first frame that was used.
    """

    paths: tuple[Path, ...]
    starting_frames: tuple[int, ...]
    n_frames: int
    n_before: int = 0


def cannot_link(kind: str) -> str:
    """Says why an NWB file cannot link to raw data, and what to do.

    Args:
        kind: format of the raw data.

    Returns:
        The message.
    """
    return f"`raw: external` links to TIFFs, and these raw data are {kind}: use `raw: embed` or `raw: none`"


def add_raw_movie(
    nwb: NWBFile,
    movie: Movie,
    *,
    plane: ImagingPlane,
    metadata: RecordingMetadata,
    parameters: NwbParameters,
    timing: Timing,
    links: Links | None = None,
    line_offset_px: int = 0,
    suffix: str = "",
    channel: str = "",
) -> TwoPhotonSeries | None:
    """Adds the movie as it was recorded, in its own dtype.

    Args:
        nwb: the file.
        movie: raw, (T, H, W), lazy.
        plane: that was imaged.
        metadata: of the recording; its pixel size gives the field of view.
        parameters: `raw` embeds the movie, links to its TIFFs (`external`) or leaves it out (`none`).
        timing: times of the frames.
        links: the TIFFs, for `raw: external`.
        line_offset_px: offset of odd rows that was corrected in the movie, in px.
        suffix: end of the name of the series, which tells channel and plane where there are several.
        channel: sentence on the channel for the description, where there are several.

    Returns:
        The series, (T, x, y); None for `raw: none`.

    Raises:
        ValueError: `raw: external` without links.
    """
    if parameters.raw == "none":
        return None
    if parameters.raw == "embed":
        fields = timing.series_fields(len(movie))
        fields["data"] = compressed(MovieIterator(movie), parameters.compression)
    elif links is not None:
        fields = _external_fields(links, timing)
    else:
        raise ValueError(
            "`raw: external` needs the TIFFs of the raw movie and the first frame of each, but none were given. Pass "
            "them as `links`, or use `raw: embed`."
        )
    if metadata.pixel_size_um is not None:
        size_m = np.asarray(movie.shape[1:]) * np.asarray(metadata.pixel_size_um) * 1e-6
        fields["field_of_view"] = points_to_nwb(size_m)
    series = TwoPhotonSeries(
        name=f"TwoPhotonSeries{suffix}",
        description=f"The movie as recorded, before motion correction. {channel}{_line_note(line_offset_px, links)}"
        f"{XY_AXES}",
        imaging_plane=plane,
        unit=UNIT,
        **fields,
    )
    nwb.add_acquisition(series)
    return series


def _line_note(offset_px: int, links: Links | None) -> str:
    """What was done about the line-scan offset, and whether it is in these data."""
    if not offset_px:
        return ""
    if links is not None:
        return (
            f"These files are as recorded: all results come from frames whose odd rows were moved by {-offset_px:+d} "
            "px along x (line-scan offset). "
        )
    return f"Odd rows were moved by {-offset_px:+d} px along x (line-scan offset). "


def _external_fields(links: Links, timing: Timing) -> dict[str, Any]:
    """The fields of a series whose frames are in other files; NWBFileDataset makes the paths relative on save."""
    return {
        "external_file": [str(path) for path in links.paths],
        "starting_frame": list(links.starting_frames),
        "num_samples": links.n_frames,
        "format": "external",
        **timing.series_fields(links.n_frames, n_before=links.n_before),
    }
