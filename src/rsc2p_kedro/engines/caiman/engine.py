"""CaImAn behind the interface of an engine.

CaImAn (Giovannucci et al. 2019, doi 10.7554/eLife.38173) is installed by the user, from conda-forge. None of its code
is part of this project.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
from dask.utils import SerializableLock
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import frame_blocks, read
from rsc2p_kedro.algorithms.dff import estimate_dark_level
from rsc2p_kedro.algorithms.evaluation import accept_components
from rsc2p_kedro.algorithms.extraction.neuron_size import half_width_of_movie
from rsc2p_kedro.algorithms.registration.motion import CORRECTED_CHUNK_FRAMES
from rsc2p_kedro.algorithms.registration.warp import round_to
from rsc2p_kedro.core.parameters import (
    Acquisition,
    CaimanSettings,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection
from rsc2p_kedro.engines.caiman import conversions, worker
from rsc2p_kedro.engines.caiman.exchange import (
    CaimanError,
    Response,
    movie_minimum,
    n_processes,
    run_task,
    write_memory_map,
)
from rsc2p_kedro.engines.caiman.mapping import caiman_groups, not_honoured

_SEGMENT_BYTES = 5e8
"""Size of the corrected frames (float32, in bytes) that one start of CaImAn computes.

Large, because each start takes some seconds; not larger, because two such segments are kept in memory. Chosen by hand,
not tuned; it does not change the result.
"""
log = logging.getLogger(__name__)


def _provenance(response: Response, parameters: FrozenModel, *, warn: bool = True) -> dict[str, str]:
    """Engine, version and parameters of a result, and the parameters that CaImAn cannot honour; logs these as well."""
    ignored = not_honoured(parameters)
    if ignored and warn:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in ignored.items())
        log.warning("CaImAn cannot honour these parameters of %s:%s", type(parameters).__name__, lines)
    return {
        "engine": "caiman",
        "version": response.version,
        "parameters": parameters.model_dump_json(),
        "not_honoured": json.dumps(dict(ignored)),
    }


class _CorrectedMovie:
    """Frames of the corrected movie, which CaImAn computes in segments when one of their frames is read.

    The last two segments are kept in memory, because several threads read neighbouring blocks in order.
    """

    def __init__(
        self,
        settings: CaimanSettings,
        movie: da.Array,
        motion: MotionCorrection,
        parameters: MotionCorrectionParameters,
        dtype: np.dtype,
    ) -> None:
        self._settings, self._movie, self._motion = settings, movie, motion
        self._parameters, self._dtype = parameters, dtype
        chunk_bytes = 4 * math.prod(movie.shape[1:]) * CORRECTED_CHUNK_FRAMES
        self._frames = CORRECTED_CHUNK_FRAMES * max(1, int(_SEGMENT_BYTES / chunk_bytes))
        self._segments: dict[int, NDArray] = {}
        self._lock = SerializableLock()

    def block(self, block_info: dict) -> NDArray:
        """Frames of one block of the lazy movie, for `dask.array.map_blocks`.

        Args:
            block_info: position of the block, from dask.

        Returns:
            (t, H, W).
        """
        start, stop = block_info[None]["array-location"][0]
        first = start // self._frames * self._frames
        with self._lock:
            if first not in self._segments:
                self._segments = dict([*self._segments.items()][-1:])
                self._segments[first] = self._correct(slice(first, min(first + self._frames, len(self._movie))))
            return self._segments[first][start - first : stop - first]

    def _correct(self, frames: slice) -> NDArray:
        """One segment, by CaImAn."""
        movie = read(self._movie, frames)
        response = run_task(
            worker.apply_motion,
            self._settings,
            groups=caiman_groups(self._parameters, processes=1),
            arrays=conversions.motion_to_caiman(self._motion, frames),
            write_movie=lambda folder: write_memory_map(folder, movie, Compute(), order="F"),  # type: ignore[call-arg]
        )
        return round_to(response.arrays["corrected"], self._dtype)


class CaimanEngine:
    """CaImAn behind the interface :class:`rsc2p_kedro.engines.protocol.Engine`.

    Parameters that CaImAn cannot honour are logged and named in the provenance of the result (`not_honoured`). Every
    method raises :class:`.CaimanError` if CaImAn is missing or has failed. CaImAn always starts from random seed 0.
    """

    def __init__(self, settings: CaimanSettings) -> None:
        """Stores where CaImAn is installed; it is not started before a method needs it.

        Args:
            settings: interpreter of CaImAn's environment, and folder for its files.
        """
        self._settings = settings

    def correct_motion(
        self,
        movie: da.Array,
        parameters: MotionCorrectionParameters,
        *,
        compute: Compute,
        neuron_half_width_px: float = 4,
    ) -> MotionCorrection:
        """Estimates the motion of a movie with NoRMCorre, rigid or piecewise.

        Args:
            movie: (T, H, W), integers or floats.
            parameters: of motion correction.
            compute: resources of the machine; CaImAn uses as many processes as threads are allowed.
            neuron_half_width_px: not used; NoRMCorre has no length that depends on the size of neurons.

        Returns:
            Template (H, W), rigid and patch shifts to apply in px, and `peak_quality` (T,), which this project computes
            as CaImAn does not. All frames count as registered.
        """
        groups = caiman_groups(parameters, processes=n_processes(compute))
        groups["motion"]["min_mov"] = movie_minimum(movie, compute)
        response = run_task(
            worker.estimate_motion,
            self._settings,
            groups=groups,
            write_movie=lambda folder: write_memory_map(folder, movie, compute, order="F"),
            compute=compute,
        )
        motion = conversions.motion_from_caiman(response.arrays, _provenance(response, parameters))
        grid = (parameters.patch_stride_px, parameters.patch_overlap_px) if motion.piecewise else (None, None)
        return replace(motion, patch_stride_px=grid[0], patch_overlap_px=grid[1])

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
        """Corrects the motion of a movie lazily, in segments of up to 0.5 GB per start of CaImAn.

        Args:
            movie: (T, H, W), the movie that the motion was estimated from.
            motion: motion of that movie, estimated by CaImAn; its patches take precedence over those of the parameters.
            parameters: of motion correction; `corrected_dtype` sets the dtype of the result.

        Returns:
            Corrected movie (T, H, W), lazy, in chunks of 64 whole frames.

        Raises:
            CaimanError: another engine estimated the motion.
        """
        if motion.provenance.get("engine") != "caiman":
            raise CaimanError(
                "CaImAn can only apply shifts that it has estimated; these were estimated by engine "
                f"{motion.provenance.get('engine', 'unknown')}. Run estimate_motion with `engine: caiman` first, or "
                "apply them with the engine that estimated them."
            )
        estimated_with = parameters.model_copy(
            update={
                "piecewise": motion.piecewise,
                "patch_stride_px": motion.patch_stride_px or parameters.patch_stride_px,
                "patch_overlap_px": motion.patch_overlap_px or parameters.patch_overlap_px,
            }
        )
        dtype = movie.dtype if parameters.corrected_dtype == "raw" else np.dtype(np.float32)
        corrected = _CorrectedMovie(self._settings, movie, motion, estimated_with, dtype)
        T, H, W = movie.shape
        sizes = tuple(block.stop - block.start for block in frame_blocks(T, CORRECTED_CHUNK_FRAMES))
        return da.map_blocks(corrected.block, chunks=(sizes, (H,), (W,)), dtype=dtype, meta=np.empty((0, 0, 0), dtype))

    def extract_sources(
        self,
        movie: da.Array,
        acquisition: Acquisition,
        parameters: ExtractionParameters,
        *,
        compute: Compute,
        valid_mask: NDArray[np.bool_] | None = None,
        seeds: NDArray | None = None,
        earlier: Components | None = None,
        saturation_level: float | None = None,
    ) -> Components:
        """Fits or refits components with CaImAn's CNMF.

        Args:
            movie: (T, H, W), motion-corrected, finite.
            acquisition: frame rate in Hz and decay time of the indicator in s.
            parameters: of source extraction.
            compute: resources of the machine; CaImAn uses as many processes as threads are allowed.
            valid_mask: (H, W); pixels outside are set to 0 for CaImAn. None keeps all pixels.
            seeds: centres (n, 2) as (y, x) in px, or masks (n, H, W), for `initialization: seeded`.
            earlier: components of a first fit by CaImAn to refit. None fits the movie from the start.
            saturation_level: not used; CaImAn gives all values of a pixel the same weight.

        Returns:
            The components. Constants that CaImAn does not fit (the minimum of the movie, and baselines) are the last
            background components, beyond `n_fitted_background`. The lineage of a refit is derived from the similarity
            of footprints and traces.

        Raises:
            CaimanError: another engine made the earlier components, or seeds are missing.
        """
        if earlier is not None and earlier.provenance.get("engine") != "caiman":
            raise CaimanError(
                "CaImAn can only refit components that it has fitted; these were fitted by engine "
                f"{earlier.provenance.get('engine', 'unknown')}. Run fit_components with `engine: caiman` first."
            )
        if earlier is not None and earlier.n_components == 0:
            return earlier
        known = None if earlier is None else earlier.neuron_half_width_px
        if known is None:
            known = half_width_of_movie(movie, acquisition, parameters, compute=compute, valid_mask=valid_mask)
        half_width = float(max(1, round(known)))
        parameters = parameters.model_copy(update={"neuron_half_width_px": half_width})
        shape, offset = (int(movie.shape[1]), int(movie.shape[2])), movie_minimum(movie, compute)
        response = run_task(
            worker.fit if earlier is None else worker.refit,
            self._settings,
            groups=caiman_groups(acquisition, parameters, processes=n_processes(compute)),
            arrays=_extraction_inputs(parameters, shape, seeds, earlier, half_width),
            write_movie=_cnmf_movie(movie, compute, offset, valid_mask),
            compute=compute,
        )
        components = conversions.components_from_caiman(
            response.arrays,
            shape,
            offset=offset,
            neuron_half_width_px=half_width,
            provenance=_provenance(response, parameters, warn=earlier is None),
        )
        if earlier is None:
            return components
        ids, lineage = conversions.lineage_by_similarity(earlier, components)
        return replace(components, ids=ids, lineage=lineage)

    def evaluate(
        self,
        movie: da.Array,
        components: Components,
        acquisition: Acquisition,
        parameters: EvaluationParameters,
        *,
        compute: Compute,
    ) -> ComponentQuality:
        """Evaluates components with CaImAn's `evaluate_components`, and its CNN classifier if it is used.

        Args:
            movie: (T, H, W), motion-corrected.
            components: N components extracted from that movie, by any engine.
            acquisition: frame rate in Hz and decay time of the indicator in s.
            parameters: thresholds of acceptance, and whether CaImAn's classifier is used.
            compute: resources of the machine; CaImAn uses as many processes as threads are allowed.

        Returns:
            SNR, `r_value`, acceptance by CaImAn, and its reason, (N,) each; the classifier's score if it is used.
        """
        if components.n_components == 0:
            empty = np.zeros(0, np.float32)
            score = empty if parameters.use_classifier else None
            return ComponentQuality(empty, empty, np.zeros(0, bool), (), np.zeros(0, np.int64), score)
        models: list[FrozenModel] = [acquisition, parameters]
        if components.neuron_half_width_px is not None:  # CaImAn's classifier scales its images by gSig
            scale = {"neuron_half_width_px": max(1, round(components.neuron_half_width_px))}
            models.append(ExtractionParameters.model_validate(scale))
        response = run_task(
            worker.evaluate,
            self._settings,
            groups=caiman_groups(*models, processes=n_processes(compute)),
            arrays=conversions.components_to_caiman(components),
            write_movie=_cnmf_movie(movie, compute, movie_minimum(movie, compute), None),
            compute=compute,
        )
        return _component_quality(response, parameters)

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        """Computes dF/F with CaImAn's `detrend_df_f`.

        The dark level is passed to CaImAn as one more background component, of one negative value per pixel.

        Args:
            components: N components with T frames, of any engine.
            acquisition: frame rate in Hz.
            parameters: percentile, window in s and dark level in counts.

        Returns:
            dF/F and F0, (N, T) each. Where CaImAn's F0 is not above 0, dF/F is 0 and the component is flagged.
        """
        shape, T = components.shape, components.n_frames
        if components.n_components == 0:
            empty = np.zeros((0, T), np.float32)
            return DeltaFOverF(empty, empty, np.zeros(0, bool))
        given = parameters.dff_dark_level
        dark_level = (estimate_dark_level(components) or 0.0) if given is None else given
        background = conversions.c_to_f_order(components.background_footprints.toarray(), shape)
        arrays = conversions.components_to_caiman(components)
        arrays |= {
            "C": components.traces,
            "b": np.hstack([background, np.ones((len(background), 1))]),
            "f": np.vstack([components.background_traces, np.full((1, T), -dark_level)]),
        }
        response = run_task(
            worker.delta_f_over_f,
            self._settings,
            arrays=arrays,
            n_pixels=shape[0] * shape[1],
            percentile=parameters.dff_percentile,
            window_frames=max(3, round(parameters.dff_window_s * acquisition.frame_rate_hz)),
        )
        dff, f0 = response.arrays["dff"], response.arrays["trace_percentile"] + response.arrays["background_percentile"]
        undefined = ~(np.isfinite(dff) & (f0 > 0))
        return DeltaFOverF(
            dff=np.where(undefined, 0, dff).astype(np.float32),
            f0=np.where(f0 > 0, f0, np.finfo(np.float32).tiny).astype(np.float32),
            guarded=undefined.any(axis=1),
            dark_level=dark_level,
        )


def _cnmf_movie(
    movie: da.Array, compute: Compute, offset: float, valid_mask: NDArray[np.bool_] | None
) -> Callable[[Path], str]:
    """Function that writes the movie for CNMF: pixel by pixel, less the offset."""
    return partial(write_memory_map, movie=movie, compute=compute, order="C", offset=offset, valid_mask=valid_mask)


def _extraction_inputs(
    parameters: ExtractionParameters,
    shape: tuple[int, int],
    seeds: NDArray | None,
    earlier: Components | None,
    half_width_px: float,
) -> dict[str, NDArray]:
    """Arrays that a fit or a refit starts from.

    Raises:
        CaimanError: seeds are needed and missing.
    """
    if earlier is not None:
        return conversions.components_to_caiman(earlier)
    if parameters.initialization != "seeded":
        return {}
    if seeds is None or len(seeds) == 0:
        raise CaimanError(
            "`initialization: seeded` needs seeds, but none were given: name a file of centres or masks under `seeds:` "
            "in the recording's entry."
        )
    return {"seeds": conversions.seed_masks(seeds, shape, half_width_px)}


def _component_quality(response: Response, parameters: EvaluationParameters) -> ComponentQuality:
    """CaImAn's measures and decisions.

    The reasons are those of this project's rule, which differs from CaImAn's only for values equal to a threshold.
    """
    arrays = response.arrays
    snr, r_value = (np.nan_to_num(arrays[name], posinf=1e3, neginf=0) for name in ("snr", "r_value"))
    score = arrays["cnn_preds"].astype(np.float32) if parameters.use_classifier else None
    own_decisions, own_reasons = accept_components(snr, r_value, parameters, classifier_score=score)
    reasons = tuple(
        reason if accepted == own else f"{'accepted' if accepted else 'rejected'}: on a threshold, by CaImAn's rule"
        for accepted, own, reason in zip(arrays["accepted"], own_decisions, own_reasons, strict=True)
    )
    return ComponentQuality(
        snr=snr.astype(np.float32),
        r_value=r_value.astype(np.float32),
        accepted=arrays["accepted"],
        reasons=reasons,
        n_transients=arrays["n_transients"].astype(np.int64),
        classifier_score=score,
        provenance=_provenance(response, parameters),
    )
