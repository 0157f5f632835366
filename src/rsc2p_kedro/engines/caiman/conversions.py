"""Between CaImAn's conventions and ours; nothing else of the project knows CaImAn's.

| | CaImAn | here |
|---|---|---|
| images as vectors | F order: pixel (y, x) is number y + H x | C order: x + W y |
| movies | maps (pixels, T) in F order (frame by frame) or C order (pixel by pixel) | (T, H, W) |
| shifts | to apply to a frame; x_shifts move rows, y_shifts columns | (T, P, 2) as (dy, dx) |
| C | holds the baseline `bl` | the baseline stands apart, as part of the background |
| offset | CNMF sees the movie minus its minimum | the background holds it |
| YrA | what is left of C + its residual | the same |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.core.results import Components, LineageEntry, MotionCorrection

Arrays = Mapping[str, NDArray]
_SAME_CELL = 0.3
_SAME_ACTIVITY = 0.5


def c_order_of_f(shape: tuple[int, int]) -> NDArray[np.intp]:
    """For each pixel in F order, its number in C order (H*W,)."""
    return np.arange(shape[0] * shape[1]).reshape(shape).ravel(order="F")


def from_f_order(rows: Any, shape: tuple[int, int]) -> Any:
    """Rows of pixels (H*W, ...), dense or sparse, turned from F into C order."""
    return rows[np.argsort(c_order_of_f(shape))]


def to_f_order(rows: Any, shape: tuple[int, int]) -> Any:
    """Rows of pixels (H*W, ...), dense or sparse, turned from C into F order."""
    return rows[c_order_of_f(shape)]


def sparse_parts(name: str, matrix: sp.csc_array) -> dict[str, NDArray]:
    """A sparse matrix as three arrays, which a file without pickles can hold."""
    return {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def sparse_of(name: str, arrays: Arrays, n_rows: int) -> sp.csc_array:
    """A matrix from the three arrays of :func:`sparse_parts`."""
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return sp.csc_array((data, indices, indptr), shape=(n_rows, len(indptr) - 1))


def _finite(image: NDArray) -> NDArray[np.float32]:
    """An image with the median of what is there in the place of NaN."""
    return np.where(np.isfinite(image), image, np.nanmedian(image)).astype(np.float32)


def seen_mask(shape: tuple[int, int], moves: NDArray) -> NDArray[np.bool_]:
    """Pixels (H, W) whose source lies within the frame for every shift (..., 2) as (dy, dx)."""
    mask = np.ones(shape, bool)
    flat = moves.reshape(-1, 2)
    for axis, size in enumerate(shape):
        source = np.arange(size)[:, None] - np.array([flat[:, axis].min(), flat[:, axis].max()])
        inside = ((source >= 0) & (source <= size - 1)).all(axis=1)
        mask &= inside[:, None] if axis == 0 else inside[None]
    return mask


def motion_from_caiman(found: Arrays, provenance: dict[str, str]) -> MotionCorrection:
    """CaImAn's shifts as a record of ours.

    CaImAn gives the shift to apply to a frame, as we do. Its x is the row, its y the column, and patches are counted
    along the columns first.
    """
    template, shifts = found["template"], found["shifts_rig"].astype(np.float32)
    T = len(shifts)
    patch_shifts, centres = np.zeros((T, 0, 2), np.float32), np.zeros((0, 2), np.float32)
    if "x_shifts_els" in found:
        patch_shifts = np.stack([found["x_shifts_els"], found["y_shifts_els"]], axis=2).astype(np.float32)
        grid = np.meshgrid(found["centre_rows"], found["centre_columns"], indexing="ij")
        centres = np.stack(grid, axis=-1).reshape(-1, 2).astype(np.float32)
    moves = patch_shifts if len(centres) else shifts
    shape = (template.shape[0], template.shape[1])
    return MotionCorrection(
        template=_finite(template),
        shifts=shifts,
        patch_shifts=patch_shifts,
        patch_centres=centres,
        valid_mask=seen_mask(shape, moves) & np.isfinite(template),
        peak_quality=found["peak_quality"].astype(np.float32),
        registered=np.ones(T, bool),
        provenance=provenance,
    )


def motion_to_caiman(motion: MotionCorrection, frames: slice) -> dict[str, NDArray]:
    """The shifts of some frames, as CaImAn keeps them."""
    arrays = {"shifts_rig": motion.shifts[frames].astype(float)}
    if motion.piecewise:
        arrays["x_shifts_els"] = motion.patch_shifts[frames, :, 0].astype(float)
        arrays["y_shifts_els"] = motion.patch_shifts[frames, :, 1].astype(float)
    return arrays


def _constant_background(image: NDArray, n_frames: int) -> tuple[sp.csc_array, NDArray]:
    """An image (H*W,) that does not change, as background: columns of values above 0, traces of 1 or -1."""
    columns, traces = [], []
    for sign in (1.0, -1.0):
        part = np.maximum(sign * image, 0)
        if part.any():
            columns.append(part)
            traces.append(np.full(n_frames, sign))
    footprints = np.array(columns).reshape(-1, len(image)).T
    return sp.csc_array(footprints), np.array(traces).reshape(-1, n_frames)


def components_from_caiman(
    found: Arrays,
    shape: tuple[int, int],
    *,
    offset: float,
    neuron_half_width_px: int,
    provenance: dict[str, str],
    ids: NDArray[np.int64] | None = None,
) -> Components:
    """What CaImAn's fit has found, as a record of ours.

    CaImAn's C holds the baseline of each trace, and CaImAn saw the movie minus `offset`. Both are light that does not
    change: they become one more background component (two, where some of it is below 0), so that A C + b f is the whole
    movie. `n_fitted_background` tells the refit how many components CaImAn's own background has.

    Args:
        found: CaImAn's estimates, pixels in F order.
        shape: (H, W).
        offset: what was taken off the movie.
        neuron_half_width_px: that the components were searched with, in px.
        provenance: of the result.
        ids: of the components; none: 0, 1, ... Components without a single pixel are left out.
    """
    n_pixels = shape[0] * shape[1]
    A = sp.csc_array(from_f_order(sparse_of("A", found, n_pixels).tocsr(), shape)).astype(np.float64)
    A.data = np.maximum(A.data, 0)
    A.eliminate_zeros()
    norms = np.sqrt(np.asarray((A * A).sum(axis=0)).ravel())
    keep = np.flatnonzero(norms > 0)
    A, norms = sp.csc_array(A[:, keep] @ sp.diags_array(1 / norms[keep])), norms[keep]

    def scaled(name: str) -> NDArray:
        return (found[name][keep].T * norms).T

    baseline, noisy = scaled("bl"), scaled("C") + scaled("YrA")
    traces = np.maximum(scaled("C") - baseline[:, None], 0)
    n_frames = noisy.shape[1]
    b, f = from_f_order(found["b"], shape), found["f"]
    b, f = np.maximum(b, 0), np.asarray(f).reshape(-1, n_frames)
    constant, ones = _constant_background(A @ baseline + offset, n_frames)
    return Components(
        shape=shape,
        ids=np.arange(len(keep)) if ids is None else ids[keep],
        footprints=A.astype(np.float32),
        traces=traces.astype(np.float32),
        spikes=np.maximum(scaled("S"), 0).astype(np.float32),
        residual_traces=(noisy - baseline[:, None] - traces).astype(np.float32),
        background_footprints=sp.csc_array(sp.hstack([sp.csc_array(b), constant])).astype(np.float32),
        background_traces=np.vstack([f, ones]).astype(np.float32),
        baseline=baseline.astype(np.float32),
        noise=scaled("neurons_sn").astype(np.float32),
        ar_coefficients=found["g"][keep].astype(np.float32),
        lam=np.nan_to_num(scaled("lam")).astype(np.float32),
        pixel_noise=found["sn"].reshape(shape, order="F").astype(np.float32),
        neuron_half_width_px=neuron_half_width_px,
        n_fitted_background=len(f),
        provenance=provenance,
    )


def components_to_caiman(components: Components) -> dict[str, NDArray]:
    """A record of ours as CaImAn keeps its estimates.

    Of the background of a result that CaImAn made, its own components come back, and the baseline returns into C. Of
    any other result, all of the background.
    """
    shape = components.shape
    made = components.n_fitted_background
    n_background = len(components.background_traces) if made is None else made
    baseline = components.baseline if made is not None else np.zeros_like(components.baseline)
    footprints = sp.csc_array(to_f_order(components.footprints.tocsr(), shape)).astype(np.float64)
    background = components.background_footprints[:, :n_background].toarray()
    return {
        **sparse_parts("A", footprints),
        "C": components.traces.astype(float) + baseline[:, None],
        "S": components.spikes.astype(float),
        "YrA": components.residual_traces.astype(float),
        "b": to_f_order(background, shape).astype(float),
        "f": components.background_traces[:n_background].astype(float),
        "bl": baseline.astype(float),
        "c1": np.zeros(components.n_components),
        "neurons_sn": components.noise.astype(float),
        "lam": components.lam.astype(float),
        "g": components.ar_coefficients.astype(float),
        "sn": components.pixel_noise.ravel(order="F").astype(float),
    }


def seed_masks(seeds: NDArray, shape: tuple[int, int], half_width: int) -> NDArray[np.bool_]:
    """Masks (H*W, n) in F order of seeds: masks (n, H, W), or discs around centres (n, 2) as (y, x) in px."""
    if seeds.ndim == 2:
        y, x = np.indices(shape)
        far = [(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in seeds]
        seeds = np.array(far).reshape(-1, *shape) <= (half_width + 0.5) ** 2
    return np.array([mask.ravel(order="F") for mask in seeds]).reshape(-1, shape[0] * shape[1]).T > 0


def _correlation(first: NDArray, second: NDArray) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-12))


def trace_lineage(earlier: Components, later: Components) -> tuple[NDArray[np.int64], tuple[LineageEntry, ...]]:
    """Which component of the first fit each of the refit is: CaImAn keeps no account of it.

    A component keeps the id of the one in the first fit whose footprint is most like its own (cosine above 0.3; pairs
    by the Hungarian method). One that has none left is merged into the component it lies on, if their traces correlate
    above 0.5, and otherwise removed.

    Returns:
        The ids (N,) of the later components, and the entries.
    """
    likeness = (earlier.footprints.T @ later.footprints).toarray().astype(float)
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    pairs = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if likeness[i, j] > _SAME_CELL}
    ids, unused = np.zeros(later.n_components, np.int64), int(earlier.ids.max(initial=-1)) + 1
    for j in range(later.n_components):
        ids[j] = earlier.ids[pairs[j]] if j in pairs else unused
        unused += j not in pairs
    parents = {j: [int(earlier.ids[i])] for j, i in pairs.items()}
    gone = []
    for i in sorted(set(range(earlier.n_components)) - set(pairs.values())):
        own, j = int(earlier.ids[i]), int(likeness[i].argmax()) if later.n_components else -1
        same = j in pairs and likeness[i, j] > _SAME_CELL
        if same and _correlation(earlier.traces[i], later.traces[j]) > _SAME_ACTIVITY:
            parents[j].append(own)
            gone.append(LineageEntry(own, "removed", (own,), f"merged into {ids[j]}, by footprint and trace"))
        else:
            gone.append(LineageEntry(own, "removed", (own,), "not in CaImAn's refit"))
    kept = [_survivor(int(ids[j]), parents.get(j, [])) for j in range(later.n_components)]
    return ids, tuple(kept + gone)


def _survivor(own: int, parents: list[int]) -> LineageEntry:
    if not parents:
        return LineageEntry(own, "new", (), "like none of the first fit")
    event = "kept" if len(parents) == 1 else "merged"
    return LineageEntry(own, event, tuple(parents), "told by its footprint")
