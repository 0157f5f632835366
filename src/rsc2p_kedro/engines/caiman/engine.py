"""CaImAn behind the engine protocol.

CaImAn (Giovannucci et al. 2019, doi 10.7554/eLife.38173) is the user's own, from conda-forge. Nothing of it is part of
this project.
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
from rsc2p_kedro.engines.caiman.exchange import Answer, CaimanError, ask, lowest_value, processes_of, write_map
from rsc2p_kedro.engines.caiman.mapping import caiman_groups, not_honoured

_SLAB_BYTES = 5e8
_CHUNK_FRAMES = 64
log = logging.getLogger(__name__)


def _provenance(answer: Answer, parameters: FrozenModel, *, told: bool = True) -> dict[str, str]:
    """What made a result, and which parameters had no part in it; these are said in the log as well, if `told`."""
    unheard = not_honoured(parameters)
    if unheard and told:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in unheard.items())
        log.warning("CaImAn has no part for these parameters of %s:%s", type(parameters).__name__, lines)
    return {
        "engine": "caiman",
        "version": answer.version,
        "parameters": parameters.model_dump_json(),
        "not_honoured": json.dumps(dict(unheard)),
    }


class _CorrectedSlabs:
    """A corrected movie, of which CaImAn makes a slab of many frames whenever a frame of it is asked for.

    Starting CaImAn takes seconds, so that the slabs are large, and the last two are kept: blocks are asked for in
    order, by several threads.
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
        frame_bytes = 4 * math.prod(movie.shape[1:])
        self._frames = _CHUNK_FRAMES * max(1, int(_SLAB_BYTES / frame_bytes / _CHUNK_FRAMES))
        self._kept: dict[int, NDArray] = {}
        self._lock = SerializableLock()

    def block(self, block_info: dict) -> NDArray:
        """The frames of one block of the lazy movie."""
        start, stop = block_info[None]["array-location"][0]
        first = start // self._frames * self._frames
        return self._slab(first)[start - first : stop - first]

    def _slab(self, first: int) -> NDArray:
        with self._lock:
            if first not in self._kept:
                self._kept = dict([*self._kept.items()][-1:])
                self._kept[first] = self._correct(slice(first, min(first + self._frames, len(self._movie))))
            return self._kept[first]

    def _correct(self, frames: slice) -> NDArray:
        answer = ask(
            worker.apply_motion,
            self._settings,
            groups=caiman_groups(self._parameters, processes=1),
            arrays=conversions.motion_to_caiman(self._motion, frames),
            write_movie=partial(write_map, movie=read(self._movie, frames), compute=Compute(), order="F"),  # type: ignore[call-arg]
        )
        return _round_to(answer.arrays["corrected"], self._dtype)


class CaimanEngine:
    """See :class:`rsc2p_kedro.engines.protocol.Engine`."""

    def __init__(self, settings: CaimanSettings) -> None:
        self._settings = settings

    def correct_motion(
        self,
        movie: da.Array,
        parameters: MotionCorrectionParameters,
        *,
        compute: Compute,
        neuron_half_width_px: int = 4,
    ) -> MotionCorrection:
        """Estimates the motion of a movie by CaImAn's NoRMCorre.

        Args:
            movie: (T, H, W), integers or floats.
            parameters: of motion correction.
            compute: resources of the machine.
            neuron_half_width_px: not used; NoRMCorre has no length that depends on the size of neurons.

        Returns:
            Template, shifts to apply in px, and the quality of each frame's registration.
        """
        groups = caiman_groups(parameters, processes=processes_of(compute))
        groups["motion"]["min_mov"] = lowest_value(movie, compute)
        answer = ask(
            worker.estimate_motion,
            self._settings,
            groups=groups,
            write_movie=partial(write_map, movie=movie, compute=compute, order="F"),
            compute=compute,
        )
        motion = conversions.motion_from_caiman(answer.arrays, _provenance(answer, parameters))
        grid = (parameters.patch_stride_px, parameters.patch_overlap_px) if motion.piecewise else (None, None)
        return replace(motion, patch_stride_px=grid[0], patch_overlap_px=grid[1])

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
        if motion.provenance.get("engine") != "caiman":
            raise CaimanError(
                f"CaImAn applies its own shifts; these are by engine {motion.provenance.get('engine', 'unknown')}. Run "
                "estimate_motion with `engine: caiman` first, or apply them with the engine that made them."
            )
        made_with = parameters.model_copy(
            update={
                "piecewise": motion.piecewise,
                "patch_stride_px": motion.patch_stride_px or parameters.patch_stride_px,
                "patch_overlap_px": motion.patch_overlap_px or parameters.patch_overlap_px,
            }
        )
        dtype = movie.dtype if parameters.corrected_dtype == "raw" else np.dtype(np.float32)
        slabs = _CorrectedSlabs(self._settings, movie, motion, made_with, dtype)
        T, H, W = movie.shape
        sizes = tuple(part.stop - part.start for part in frame_blocks(T, _CHUNK_FRAMES))
        return da.map_blocks(slabs.block, chunks=(sizes, (H,), (W,)), dtype=dtype, meta=np.empty((0, 0, 0), dtype))

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
    ) -> Components:
        if earlier is not None and earlier.provenance.get("engine") != "caiman":
            raise CaimanError(
                f"CaImAn refits its own first fit; this one is by {earlier.provenance.get('engine', 'unknown')}. Run "
                "fit_components with `engine: caiman` first."
            )
        if earlier is not None and earlier.n_components == 0:
            return earlier
        shape, offset = (int(movie.shape[1]), int(movie.shape[2])), lowest_value(movie, compute)
        answer = ask(
            worker.fit if earlier is None else worker.refit,
            self._settings,
            groups=caiman_groups(acquisition, parameters, processes=processes_of(compute)),
            arrays=_extraction_inputs(parameters, shape, seeds, earlier),
            write_movie=_cnmf_map(movie, compute, offset, valid_mask),
            compute=compute,
        )
        provenance = _provenance(answer, parameters, told=earlier is None)
        found = conversions.components_from_caiman(
            answer.arrays,
            shape,
            offset=offset,
            neuron_half_width_px=parameters.neuron_half_width_px,
            provenance=provenance,
        )
        if earlier is None:
            return found
        ids, lineage = conversions.trace_lineage(earlier, found)
        return replace(found, ids=ids, lineage=lineage)

    def evaluate(
        self,
        movie: da.Array,
        components: Components,
        acquisition: Acquisition,
        parameters: EvaluationParameters,
        *,
        compute: Compute,
    ) -> ComponentQuality:
        if components.n_components == 0:
            nothing = np.zeros(0, np.float32)
            return ComponentQuality(
                nothing,
                nothing,
                np.zeros(0, bool),
                (),
                np.zeros(0, np.int64),
                nothing if parameters.use_classifier else None,
            )
        half_width = components.neuron_half_width_px
        models: list[FrozenModel] = [acquisition, parameters]
        if half_width is not None:
            models.append(ExtractionParameters.model_validate({"neuron_half_width_px": half_width}))
        answer = ask(
            worker.evaluate,
            self._settings,
            groups=caiman_groups(*models, processes=processes_of(compute)),
            arrays=conversions.components_to_caiman(components),
            write_movie=_cnmf_map(movie, compute, lowest_value(movie, compute), None),
            compute=compute,
        )
        return _quality(answer, parameters)

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        shape, T = components.shape, components.n_frames
        if components.n_components == 0:
            nothing = np.zeros((0, T), np.float32)
            return DeltaFOverF(nothing, nothing, np.zeros(0, bool))
        given = parameters.dff_dark_level
        dark = estimate_dark_level(components) if given is None else given
        own = conversions.to_f_order(components.background_footprints.toarray(), shape)
        background = np.hstack([own, np.ones((len(own), 1))])
        arrays = conversions.components_to_caiman(components)
        arrays |= {
            "C": components.traces,
            "b": background,
            "f": np.vstack([components.background_traces, np.full((1, T), -dark)]),
        }
        answer = ask(
            worker.delta_f_over_f,
            self._settings,
            arrays=arrays,
            n_pixels=shape[0] * shape[1],
            percentile=parameters.dff_percentile,
            window_frames=max(3, round(parameters.dff_window_s * acquisition.frame_rate_hz)),
        )
        return _dff(answer, dark)


def _cnmf_map(
    movie: da.Array, compute: Compute, offset: float, valid_mask: NDArray[np.bool_] | None
) -> Callable[[Path], str]:
    return partial(write_map, movie=movie, compute=compute, order="C", offset=offset, valid_mask=valid_mask)


def _extraction_inputs(
    parameters: ExtractionParameters, shape: tuple[int, int], seeds: NDArray | None, earlier: Components | None
) -> dict[str, NDArray]:
    if earlier is not None:
        return conversions.components_to_caiman(earlier)
    if parameters.initialization != "seeded":
        return {}
    if seeds is None or len(seeds) == 0:
        raise CaimanError("`initialization: seeded` needs seeds: centres (n, 2) or masks (n, H, W); none came.")
    return {"seeds": conversions.seed_masks(seeds, shape, parameters.neuron_half_width_px)}


def _round_to(frames: NDArray, dtype: np.dtype) -> NDArray:
    """Frames in the numbers of the raw movie: rounded, and within its range, if these are integers."""
    if dtype.kind not in "iu":
        return frames.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(frames), limits.min, limits.max).astype(dtype)


def _reasons(accepted: NDArray[np.bool_], decided: NDArray[np.bool_], said: tuple[str, ...]) -> tuple[str, ...]:
    """Reasons of our rule, which is CaImAn's but for values that lie on a threshold."""
    decisions = ["accepted" if good else "rejected" for good in accepted]
    rows = zip(accepted == decided, said, decisions, strict=True)
    return tuple(why if same else f"{decision}: on a threshold, by CaImAn's rule" for same, why, decision in rows)


def _quality(answer: Answer, parameters: EvaluationParameters) -> ComponentQuality:
    found = answer.arrays
    snr, r_value = (np.nan_to_num(found[name], posinf=1e3, neginf=0) for name in ("snr", "r_value"))
    cnn = found["cnn"].astype(np.float32) if parameters.use_classifier else None
    decided, said = accept_components(snr, r_value, parameters, classifier_score=cnn)
    return ComponentQuality(
        snr=snr.astype(np.float32),
        r_value=r_value.astype(np.float32),
        accepted=found["accepted"],
        reasons=_reasons(found["accepted"], decided, said),
        n_transients=found["n_transients"].astype(np.int64),
        classifier_score=cnn,
        provenance=_provenance(answer, parameters),
    )


def _dff(answer: Answer, dark_level: float) -> DeltaFOverF:
    """dF/F with its F0; where CaImAn's F0 is not above 0, dF/F means nothing: it becomes 0, and that is said."""
    dff, f0 = answer.arrays["dff"], answer.arrays["rest"] + answer.arrays["background_rest"]
    bad = ~(np.isfinite(dff) & (f0 > 0))
    return DeltaFOverF(
        dff=np.where(bad, 0, dff).astype(np.float32),
        f0=np.where(f0 > 0, f0, np.finfo(np.float32).tiny).astype(np.float32),
        guarded=bad.any(axis=1),
        dark_level=dark_level,
    )
