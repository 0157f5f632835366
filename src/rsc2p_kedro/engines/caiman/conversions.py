"""Conversion between CaImAn's conventions and those of this project, for which no other module converts.

| | CaImAn | this project |
|---|---|---|
| pixels of an image | F order: pixel (y, x) has index y + H x | C order: x + W y |
| movies | memory maps (pixels, T) in F order (frame by frame) or C order (pixel by pixel) | (T, H, W) |
| shifts | to apply to a frame; x_shifts_els move rows, y_shifts_els columns | (T, P, 2) as (dy, dx), the same sign |
| baseline `bl` | part of C | not in the traces; part of the background |
| offset | CNMF fits the movie less its minimum | part of the background |
| YrA | residual of each component, to be added to C | the same |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.core.results import Components, LineageEntry, MotionCorrection

Arrays = Mapping[str, NDArray]

MIN_FOOTPRINT_SIMILARITY = 0.3
"""Cosine of two footprints (0..1) above which they can belong to the same component; chosen by hand, not tuned."""
MIN_TRACE_CORRELATION = 0.5
"""Correlation of two traces above which a lost component counts as merged, not removed; chosen by hand, not tuned."""


def f_order_pixels(shape: tuple[int, int]) -> NDArray[np.intp]:
    """Lists the pixels of an image in F order.

    Args:
        shape: (H, W).

    Returns:
        (H*W,), for each pixel in F order its index in C order.
    """
    return np.arange(shape[0] * shape[1]).reshape(shape).ravel(order="F")


def f_to_c_order(rows: Any, shape: tuple[int, int]) -> Any:
    """Sorts rows of pixels from F order to C order.

    Args:
        rows: (H*W, ...), an array or a sparse matrix that can be indexed by rows (CSR).
        shape: (H, W).

    Returns:
        The same kind, its rows in C order.
    """
    return rows[np.argsort(f_order_pixels(shape))]


def c_to_f_order(rows: Any, shape: tuple[int, int]) -> Any:
    """Sorts rows of pixels from C order to F order.

    Args:
        rows: (H*W, ...), an array or a sparse matrix that can be indexed by rows (CSR).
        shape: (H, W).

    Returns:
        The same kind, its rows in F order.
    """
    return rows[f_order_pixels(shape)]


def sparse_to_arrays(name: str, matrix: sp.csc_array) -> dict[str, NDArray]:
    """Splits a sparse matrix into three arrays, which an `npz` file without pickles can hold.

    Args:
        name: of the matrix.
        matrix: CSC.

    Returns:
        Its `data`, `indices` and `indptr`, named `name.data` and so on.
    """
    return {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def sparse_from_arrays(name: str, arrays: Arrays, n_rows: int) -> sp.csc_array:
    """Restores a sparse matrix from the arrays of :func:`sparse_to_arrays`.

    Args:
        name: of the matrix.
        arrays: contain its three arrays.
        n_rows: number of rows, which cannot be derived from the arrays.

    Returns:
        The matrix (n_rows, N).
    """
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return sp.csc_array((data, indices, indptr), shape=(n_rows, len(indptr) - 1))


def valid_mask_of_shifts(shape: tuple[int, int], shifts: NDArray) -> NDArray[np.bool_]:
    """Marks the pixels whose source is within the frame for every shift.

    Args:
        shape: (H, W).
        shifts: (..., 2) as (dy, dx) in px, to apply to a frame.

    Returns:
        (H, W).
    """
    mask = np.ones(shape, bool)
    flat = shifts.reshape(-1, 2)
    for axis, size in enumerate(shape):
        source = np.arange(size)[:, None] - np.array([flat[:, axis].min(), flat[:, axis].max()])
        inside = ((source >= 0) & (source <= size - 1)).all(axis=1)
        mask &= inside[:, None] if axis == 0 else inside[None]
    return mask


def motion_from_caiman(arrays: Arrays, provenance: dict[str, str]) -> MotionCorrection:
    """Converts CaImAn's shifts.

    Args:
        arrays: outputs of :func:`.worker.estimate_motion`. CaImAn's x is the row and its y the column; its patches are
            ordered by rows, and within a row by columns.
        provenance: of the result.

    Returns:
        Motion with shifts in px of the same sign as CaImAn's. Missing pixels of the template take its median and are
        invalid. All frames count as registered. Stride and overlap of the patches are left to the caller.
    """
    template, shifts = arrays["template"], arrays["shifts_rig"].astype(np.float32)
    T = len(shifts)
    patch_shifts, centres = np.zeros((T, 0, 2), np.float32), np.zeros((0, 2), np.float32)
    if "x_shifts_els" in arrays:
        patch_shifts = np.stack([arrays["x_shifts_els"], arrays["y_shifts_els"]], axis=2).astype(np.float32)
        grid = np.meshgrid(arrays["centre_rows"], arrays["centre_columns"], indexing="ij")
        centres = np.stack(grid, axis=-1).reshape(-1, 2).astype(np.float32)
    shape, known = (template.shape[0], template.shape[1]), np.isfinite(template)
    return MotionCorrection(
        template=np.where(known, template, np.nanmedian(template)).astype(np.float32),
        shifts=shifts,
        patch_shifts=patch_shifts,
        patch_centres=centres,
        valid_mask=valid_mask_of_shifts(shape, patch_shifts if len(centres) else shifts) & known,
        peak_quality=arrays["peak_quality"].astype(np.float32),
        registered=np.ones(T, bool),
        provenance=provenance,
    )


def motion_to_caiman(motion: MotionCorrection, frames: slice) -> dict[str, NDArray]:
    """Converts the shifts of some frames to CaImAn's arrays.

    Args:
        motion: estimated by CaImAn.
        frames: of the movie.

    Returns:
        Inputs of :func:`.worker.apply_motion`: `shifts_rig` (T, 2); if motion is piecewise, `x_shifts_els` (rows) and
        `y_shifts_els` (columns), (T, P) each, in px.
    """
    arrays = {"shifts_rig": motion.shifts[frames].astype(float)}
    if motion.piecewise:
        arrays["x_shifts_els"] = motion.patch_shifts[frames, :, 0].astype(float)
        arrays["y_shifts_els"] = motion.patch_shifts[frames, :, 1].astype(float)
    return arrays


def _constant_background(image: NDArray, n_frames: int) -> tuple[sp.csc_array, NDArray]:
    """Splits a constant image (H*W,) into background components, as footprints are never below 0.

    Returns:
        Footprints (H*W, 0 to 2) of the values above 0 and below 0, and their traces (0 to 2, T) of 1 and -1.
    """
    columns, traces = [], []
    for sign in (1.0, -1.0):
        part = np.maximum(sign * image, 0)
        if part.any():
            columns.append(part)
            traces.append(np.full(n_frames, sign))
    footprints = np.array(columns).reshape(-1, len(image)).T
    return sp.csc_array(footprints), np.array(traces).reshape(-1, n_frames)


def _unit_footprints(A: sp.csc_array) -> tuple[sp.csc_array, NDArray, NDArray[np.intp]]:
    """Footprints of unit norm without empty ones, their norms, and the indices of those kept."""
    A = sp.csc_array(A).astype(np.float64)
    A.data = np.maximum(A.data, 0)
    A.eliminate_zeros()
    norms = np.sqrt(np.asarray((A * A).sum(axis=0)).ravel())
    keep = np.flatnonzero(norms > 0)
    return sp.csc_array(A[:, keep] @ sp.diags_array(1 / norms[keep])), norms[keep], keep


def components_from_caiman(
    arrays: Arrays,
    shape: tuple[int, int],
    *,
    offset: float,
    neuron_half_width_px: float,
    provenance: dict[str, str],
) -> Components:
    """Converts the estimates of CaImAn's CNMF.

    CaImAn's C includes the baseline of each trace, and CaImAn fits the movie less `offset`. Both are constant over time
    and become one further background component (two if some of its pixels are below 0), so that A C + b f is the whole
    movie. `n_fitted_background` separates them from the background that CaImAn fitted, which a refit starts from.

    Args:
        arrays: outputs of :func:`.worker.fit`, pixels in F order.
        shape: (H, W).
        offset: value that was subtracted from the movie, in its units.
        neuron_half_width_px: half-width of a neuron in px that CaImAn was given (`gSig`).
        provenance: of the result.

    Returns:
        N components with ids 0 ... N - 1, footprints of unit norm. Components without a pixel above 0 are dropped.
    """
    A = sparse_from_arrays("A", arrays, shape[0] * shape[1])
    footprints, norms, keep = _unit_footprints(f_to_c_order(A.tocsr(), shape))

    def scaled(name: str) -> NDArray:
        """Values of the components kept, multiplied by the norms of their footprints."""
        return (arrays[name][keep].T * norms).T

    baseline, noisy_traces = scaled("bl"), scaled("C") + scaled("YrA")
    traces = np.maximum(scaled("C") - baseline[:, None], 0)
    n_frames = noisy_traces.shape[1]
    b = np.maximum(f_to_c_order(arrays["b"], shape), 0)
    f = np.asarray(arrays["f"]).reshape(-1, n_frames)
    constant, constant_traces = _constant_background(footprints @ baseline + offset, n_frames)
    return Components(
        shape=shape,
        ids=np.arange(len(keep)),
        footprints=footprints.astype(np.float32),
        traces=traces.astype(np.float32),
        spikes=np.maximum(scaled("S"), 0).astype(np.float32),
        residual_traces=(noisy_traces - baseline[:, None] - traces).astype(np.float32),
        background_footprints=sp.csc_array(sp.hstack([sp.csc_array(b), constant])).astype(np.float32),
        background_traces=np.vstack([f, constant_traces]).astype(np.float32),
        baseline=baseline.astype(np.float32),
        noise=scaled("neurons_sn").astype(np.float32),
        ar_coefficients=arrays["g"][keep].astype(np.float32),
        lam=np.nan_to_num(scaled("lam")).astype(np.float32),
        pixel_noise=arrays["sn"].reshape(shape, order="F").astype(np.float32),
        neuron_half_width_px=neuron_half_width_px,
        n_fitted_background=len(f),
        provenance=provenance,
    )


def components_to_caiman(components: Components) -> dict[str, NDArray]:
    """Converts components to CaImAn's estimates.

    Args:
        components: of any engine. Constants that an engine had taken out of the movie (background components beyond
            `n_fitted_background`) are not passed on: CaImAn fits the movie less an offset, and its C includes the
            baselines. If all background was fitted, all of it is passed on, and C is without the baselines.

    Returns:
        Inputs of :func:`.worker.refit` and :func:`.worker.evaluate`, pixels in F order, float64.
    """
    shape, n_background = components.shape, len(components.background_traces)
    n_fitted = n_background if components.n_fitted_background is None else components.n_fitted_background
    baseline = components.baseline if n_fitted < n_background else np.zeros_like(components.baseline)
    footprints = sp.csc_array(c_to_f_order(components.footprints.tocsr(), shape)).astype(np.float64)
    background = components.background_footprints[:, :n_fitted].toarray()
    return {
        **sparse_to_arrays("A", footprints),
        "C": components.traces.astype(float) + baseline[:, None],
        "S": components.spikes.astype(float),
        "YrA": components.residual_traces.astype(float),
        "b": c_to_f_order(background, shape).astype(float),
        "f": components.background_traces[:n_fitted].astype(float),
        "bl": baseline.astype(float),
        "c1": np.zeros(components.n_components),
        "neurons_sn": components.noise.astype(float),
        "lam": components.lam.astype(float),
        "g": components.ar_coefficients.astype(float),
        "sn": components.pixel_noise.ravel(order="F").astype(float),
    }


def seed_masks(seeds: NDArray, shape: tuple[int, int], half_width: float) -> NDArray[np.bool_]:
    """Converts seeds to the masks that CaImAn starts from (`Ain`).

    Args:
        seeds: masks (n, H, W), or centres (n, 2) as (y, x) in px.
        shape: (H, W).
        half_width: radius in px of the discs around the centres.

    Returns:
        (H*W, n), pixels in F order.
    """
    if seeds.ndim == 2:
        y, x = np.indices(shape)
        squared_distances = [(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in seeds]
        seeds = np.array(squared_distances).reshape(-1, *shape) <= (half_width + 0.5) ** 2
    return np.array([mask.ravel(order="F") for mask in seeds]).reshape(-1, shape[0] * shape[1]).T > 0


def _correlation(first: NDArray, second: NDArray) -> float:
    """Pearson correlation of two traces (T,), 0 if one is constant."""
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-12))


def _match_footprints(similarity: NDArray) -> dict[int, int]:
    """Pairs {column: row} of the largest total similarity, each above the threshold."""
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return {int(j): int(i) for i, j in zip(rows, columns, strict=True) if similarity[i, j] > MIN_FOOTPRINT_SIMILARITY}


def lineage_by_similarity(earlier: Components, later: Components) -> tuple[NDArray[np.int64], tuple[LineageEntry, ...]]:
    """Matches the components of a refit to those of the first fit, as CaImAn does not record their lineage.

    A component of the refit keeps the id of the one in the first fit that it is matched to: pairs by the Hungarian
    method, cosine of their footprints above 0.3. A component of the first fit without a match counts as merged if its
    footprint is as similar to a matched one and their traces correlate above 0.5; otherwise as removed.

    Args:
        earlier: components of the first fit.
        later: components of the refit; their ids are not used.

    Returns:
        Ids (N,) of the later components, and the lineage of all components.
    """
    similarity = (earlier.footprints.T @ later.footprints).toarray().astype(float)
    matches = _match_footprints(similarity)
    new = [j for j in range(later.n_components) if j not in matches]
    ids = np.zeros(later.n_components, np.int64)
    ids[new] = np.arange(len(new)) + int(earlier.ids.max(initial=-1)) + 1
    for j, i in matches.items():
        ids[j] = earlier.ids[i]
    parents = {j: [int(earlier.ids[i])] for j, i in matches.items()}
    removed = []
    for i in sorted(set(range(earlier.n_components)) - set(matches.values())):
        own, reason = int(earlier.ids[i]), "not in CaImAn's refit"
        j = int(similarity[i].argmax()) if later.n_components else -1
        overlaps = j in matches and similarity[i, j] > MIN_FOOTPRINT_SIMILARITY
        if overlaps and _correlation(earlier.traces[i], later.traces[j]) > MIN_TRACE_CORRELATION:
            parents[j].append(own)
            reason = f"merged into {ids[j]}, by similarity of footprint and trace"
        removed.append(LineageEntry(own, "removed", (own,), reason))
    kept = []
    for j, own in enumerate(map(int, ids)):
        if j in matches:
            event, reason = "kept" if len(parents[j]) == 1 else "merged", "by similarity of footprints"
        else:
            event, reason = "new", "no similar footprint in the first fit"
        kept.append(LineageEntry(own, event, tuple(parents.get(j, [])), reason))
    return ids, tuple(kept + removed)
