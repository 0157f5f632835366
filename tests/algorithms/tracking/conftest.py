"""Sessions of one drawn field of view, and what is found in them."""

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.tracking import FieldOfView, Tracking
from rsc2p_kedro.simulation import movie, sessions
from rsc2p_kedro.simulation.settings import SessionChange, SimulationSettings

CHANGES = (
    SessionChange(seed=1, turnover=0.2),
    SessionChange(seed=2, shift_px=(14, -19), rotation_deg=2.5, warp_px=2.5, turnover=0.2, brightness=1.4),
    SessionChange(seed=3, shift_px=(-11, 8), rotation_deg=-1.5, scale=1.02, warp_px=2.5, turnover=0.2),
)


def draw(
    seed: int, changes: Sequence[SessionChange] = CHANGES, n_neurons: int = 90
) -> tuple[list[FieldOfView], list[np.ndarray]]:
    """Sessions whose footprints are drawn with noise, and the neuron of each component; -1 for a false one."""
    acquisition = Acquisition(frame_rate_hz=15, decay_time_s=0.4)
    settings = SimulationSettings(seed=seed, n_frames=16, height_px=200, width_px=220, n_neurons=n_neurons)
    fields, truth = [], []
    for k, change in enumerate(changes):
        scene, _ = movie.draw_scene(settings.model_copy(update={"session": change}), acquisition)
        footprints = scene.canvas.crop_rows(sp.csc_array(scene.footprints))
        background = scene.canvas.crop(scene.mean_background()) * change.brightness
        field, found = sessions.observe(f"day_{k + 1}", footprints, background, scene.rest + 0.3, seed=[seed, k])
        numbers = sessions.draw_presence(change, n_neurons)
        fields.append(field)
        truth.append(np.where(found >= 0, numbers[np.maximum(found, 0)], -1))
    return fields, truth


@pytest.fixture(scope="session")
def three_days() -> tuple[list[FieldOfView], list[np.ndarray]]:
    """Three sessions of one field of view."""
    return draw(3)


def pairs(keys: Sequence[tuple[str, int]], neurons: Sequence[object]) -> set[tuple[tuple[str, int], tuple[str, int]]]:
    """Pairs of components of different sessions in one neuron."""
    members: dict[object, list[tuple[str, int]]] = {}
    for key, neuron in zip(keys, neurons, strict=True):
        if neuron != -1:
            members.setdefault(neuron, []).append(key)
    return {(a, b) for group in members.values() for k, a in enumerate(group) for b in group[k + 1 :]}


def true_pairs(fields: Sequence[FieldOfView], truth: Sequence[np.ndarray]) -> set:
    """Pairs of components that are one neuron."""
    keys = [(field.session, int(component)) for field in fields for component in field.ids]
    return pairs(keys, np.concatenate(truth).tolist())


def found_pairs(tracking: Tracking) -> set:
    """Pairs of components that were put into one neuron."""
    keys = list(zip(tracking.session.tolist(), tracking.component_id.tolist(), strict=True))
    return pairs(keys, tracking.neuron_id.tolist())


def f1(true: set, found: set) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * len(true & found) / max(len(true) + len(found), 1)
