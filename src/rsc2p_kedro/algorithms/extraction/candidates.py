"""Detection on the residual of the current factorization, over the whole frame, in blocks."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import detection, downsampling, partition
from rsc2p_kedro.algorithms.extraction.footprints import stack_columns, window_to_column
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs

Float = NDArray[np.float32]
DETECTION_BLOCK_PX = 64
"""Size in px of the blocks that are searched in parallel, rounded to whole patches. Larger blocks spend less time on
margins. Not tuned; other values are compared in docs/methods_extraction.md."""


def detect_candidates(inputs: Inputs, state: Factorization) -> Factorization:
    """Detects candidates in the residual of the factorization and appends them to its components.

    Args:
        inputs: data and settings.
        state: current factorization.

    Returns:
        The factorization with the candidates after its components.
    """
    p, settings = inputs.parameters, inputs.detection
    patch_px = settings.patch_px[0]
    block_px = max(1, round(DETECTION_BLOCK_PX / patch_px)) * patch_px
    margin_px = max(p.patch_overlap_px // 2, ceil(2 * inputs.half_width_px) + 2)
    grid = partition.spatial_blocks(inputs.binned.shape, block_px, margin_px)

    def detect(block: partition.SpatialBlock) -> tuple[Float, Float]:
        residual = _residual(inputs, state, block.rows, block.columns)
        if p.rolling_sum and p.rolling_length > 1:
            residual = downsampling.running_sum(residual, p.rolling_length)
        mask = inputs.binned.mask[block.rows, block.columns]
        return _detect_downsampled(residual, mask, settings, block.core_within, p.spatial_downsampling)

    results = blocks.run(detect, grid, compute=inputs.compute, description="detecting neurons")
    A, C = _stitch(results, grid, inputs.binned.shape)
    C = C - C.mean(axis=1, keepdims=True)
    parents = (*state.parents, *((state.n_components + k,) for k in range(A.shape[1])))
    A = sp.csc_array(sp.hstack([state.A, A], format="csc"))
    return replace(state, A=A, C=np.concatenate([state.C, C]), parents=parents)


def _residual(inputs: Inputs, state: Factorization, rows: slice, columns: slice) -> Float:
    """Binned movie (n, h, w) minus neuropil and components, within part of the frame."""
    W = inputs.binned.shape[1]
    data = inputs.binned.movie[:, rows, columns]
    pixels = (np.arange(rows.start, rows.stop)[:, None] * W + np.arange(columns.start, columns.stop)).ravel()
    basis = inputs.neuropil
    neuropil = basis.evaluate(state.F, rows, columns) if basis.n_splines else np.zeros_like(data)
    neuropil *= state.gain[rows, columns]
    residual = np.subtract(data, neuropil, out=neuropil)
    local_A = sp.csc_array(sp.csr_array(state.A)[pixels])
    near = np.flatnonzero(np.diff(local_A.indptr))
    if len(near):
        C = np.ascontiguousarray(state.C[near].T, np.float32)
        residual -= (C @ local_A[:, near].toarray().T).reshape(residual.shape)
    return residual


def _detect_downsampled(
    residual: NDArray,
    mask: NDArray[np.bool_],
    settings: detection.DetectionSettings,
    core: tuple[slice, slice],
    factor: int,
) -> tuple[Float, Float]:
    """:func:`.detection.detect_in_block` on sums of factor x factor px."""
    if factor == 1:
        return detection.detect_in_block(residual, mask, settings, core)
    binned_mask = downsampling.bin_pixels(mask[None].astype(np.float32), factor)[0] > 0
    rows, columns = (slice(round(s.start / factor), round(s.stop / factor)) for s in core)
    settings = replace(
        settings,
        neuron_half_width_px=max(settings.neuron_half_width_px / factor, 1),
        patch_px=(max(1, settings.patch_px[0] // factor), max(1, settings.patch_px[1] // factor)),
    )
    residual = downsampling.bin_pixels(residual, factor)
    footprints, traces = detection.detect_in_block(residual, binned_mask, settings, (rows, columns))
    return downsampling.expand_footprints(footprints, factor, mask), traces


def _stitch(
    results: Sequence[tuple[NDArray, NDArray]], grid: Sequence[partition.SpatialBlock], shape: tuple[int, int]
) -> tuple[sp.csc_array, Float]:
    """Footprints CSC (H*W, k) and traces (k, n) of all blocks, in the order of the blocks.

    Footprints without a pixel, which a bin at the edge of the mask may have, are left out.
    """
    columns, traces = [], np.concatenate([local_traces for _, local_traces in results])
    for block, (footprints, _) in zip(grid, results, strict=True):
        columns += [window_to_column(a, block.rows.start, block.columns.start, shape) for a in footprints]
    nonempty = [k for k, (indices, _) in enumerate(columns) if len(indices)]
    return stack_columns([columns[k] for k in nonempty], shape[0] * shape[1]), traces[nonempty]
