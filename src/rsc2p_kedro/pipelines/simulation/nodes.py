"""Node of the stage simulation: it simulates recordings with known ground truth."""

import dask.array as da

from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.simulation import SimulatedTruth
from rsc2p_kedro.simulation.volumes import draw_flyback, interleave, simulate_planes, volumes_in_a_block


@uses(recording="simulation frame_rate_hz decay_time_s channels planes flyback_frames")
def simulate_recording(recording: Recording) -> tuple[da.Array | SimulatedTruth, ...]:
    """Simulates a recording, with all its planes and channels.

    Args:
        recording: the recording, with its `simulation`.

    Returns:
        Its images (n, H, W) in the order of acquisition, lazy: they are simulated as they are written; and the ground
        truth of each plane.

    Raises:
        ValueError: the recording has no `simulation` in the manifest.
    """
    if recording.simulation is None:
        raise ValueError(f"{recording.name} has no `simulation:` in the manifest, so it cannot be simulated.")
    settings, structural = recording.simulation, recording.has_structural_channel
    n_channels, n_flyback = 2 if structural else 1, recording.flyback_frames or 0
    block = volumes_in_a_block(n_channels * (recording.n_planes + n_flyback))
    planes = simulate_planes(
        settings, recording.acquisition, recording.n_planes, structural=structural, block_frames=block
    )
    truths = [plane.truth for plane in planes]
    if len(planes) == 1 and not structural:
        return planes[0].movie, *truths
    movies = [_in_order(recording, plane.movie, plane.structural_movie) for plane in planes]
    dark = draw_flyback(settings, n_channels * n_flyback, block_frames=block) if n_flyback else None
    return interleave(movies, dark), *truths


def _in_order(recording: Recording, functional: da.Array, structural: da.Array | None) -> list[da.Array]:
    """The movies of the channels, by the numbers of the channels."""
    if structural is None:
        return [functional]
    first_is_functional = int(recording.channels.functional or 1) == 1
    return [functional, structural] if first_is_functional else [structural, functional]
