"""What engines return: small frozen records, consistent by construction.

Conventions, the same in the whole project: images are (H, W), row then column; movies (T, H, W); footprints CSC
(H*W, N), rows in C order; traces (N, T); shifts are (dy, dx) in px, to be *applied* to a frame (minus the displacement
of its content).
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]


def _check(problems: list[str], record: object) -> None:
    if problems:
        raise ValueError(f"{type(record).__name__} is inconsistent: " + "; ".join(problems) + ".")


def _expect(problems: list[str], name: str, value: NDArray, shape: tuple[int, ...], *, finite: bool = True) -> None:
    """Collects what is wrong with the shape of an array, and whether it holds NaN or infinity."""
    if value.shape != shape:
        problems.append(f"{name} should have shape {shape}, has {value.shape}")
    elif finite and value.dtype.kind == "f" and not np.isfinite(value).all():
        problems.append(f"{name} holds NaN or infinity")


@dataclass(frozen=True, eq=False)
class MotionCorrection:
    """Motion of a recording and what is known of its quality. P is 0 where only rigid shifts were estimated.

    Attributes:
        template: (H, W) float32, the image that frames were registered to.
        shifts: (T, 2) float32, rigid shift (dy, dx) in px to apply to each frame.
        patch_shifts: (T, P, 2) float32, whole shift (not the deviation from rigid) to apply at each patch centre.
        patch_centres: (P, 2) float32, (y, x) in px of the true patch centres.
        valid_mask: (H, W) bool, pixels that every registered frame has seen.
        peak_quality: (T,) float32, height of the correlation peak over the noise of its surroundings.
        registered: (T,) bool, false for frames that could not be registered (their shifts are interpolated or 0).
        patch_stride_px: distance of neighbouring patches in px; none where only rigid shifts were estimated.
        patch_overlap_px: overlap of neighbouring patches in px, likewise.
        provenance: engine, its version, and its parameters as JSON.
    """

    template: Float
    shifts: Float
    patch_shifts: Float
    patch_centres: Float
    valid_mask: NDArray[np.bool_]
    peak_quality: Float
    registered: NDArray[np.bool_]
    patch_stride_px: int | None = None
    patch_overlap_px: int | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: list[str] = []
        T, P, shape = len(self.shifts), len(self.patch_centres), self.template.shape
        if len(shape) != 2:
            problems.append(f"template should be (H, W), has shape {shape}")
        _expect(problems, "template", self.template, shape)
        _expect(problems, "shifts", self.shifts, (T, 2))
        _expect(problems, "patch_shifts", self.patch_shifts, (T, P, 2))
        _expect(problems, "patch_centres", self.patch_centres, (P, 2))
        _expect(problems, "valid_mask", self.valid_mask, shape)
        for name in ("peak_quality", "registered"):
            _expect(problems, name, getattr(self, name), (T,))
        _check(problems, self)

    @property
    def n_frames(self) -> int:
        return len(self.shifts)

    @property
    def piecewise(self) -> bool:
        return len(self.patch_centres) > 0


@dataclass(frozen=True, eq=False)
class MotionQuality:
    """How much better a movie is registered after its correction than before.

    Attributes:
        frame_correlation_before: (T,) float32, correlation of each raw frame with the template.
        frame_correlation_after: (T,) float32, the same of the corrected frames.
        correlation_before: mean of it over the registered frames, raw.
        correlation_after: the same of the corrected frames.
        crispness_before: norm of the gradient of the mean image, raw.
        crispness_after: the same of the corrected movie.
        residual_before: root mean square in px of the displacement between the mean images of the frames at both ends
            of the first principal components, raw.
        residual_after: the same of the corrected movie.
        registered_fraction: share of the frames that could be registered.
    """

    frame_correlation_before: Float
    frame_correlation_after: Float
    correlation_before: float
    correlation_after: float
    crispness_before: float
    crispness_after: float
    residual_before: float
    residual_after: float
    registered_fraction: float

    def rows(self) -> list[tuple[str, float, float, bool]]:
        """One row a measure: its name, before, after, and whether it became better."""
        return [
            (
                "template_correlation",
                self.correlation_before,
                self.correlation_after,
                self.correlation_after > self.correlation_before,
            ),
            ("crispness", self.crispness_before, self.crispness_after, self.crispness_after > self.crispness_before),
            (
                "residual_motion_px",
                self.residual_before,
                self.residual_after,
                self.residual_after < self.residual_before,
            ),
        ]


@dataclass(frozen=True)
class LineageEntry:
    """What became of one component between the first fit and the refit.

    Attributes:
        component_id: the id of the component the entry speaks of.
        event: `kept`, `merged` (into this one), `split`, `new` or `removed`.
        parents: ids in the first fit that it came from.
        reason: why, in words.
    """

    component_id: int
    event: str
    parents: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Components:
    """Sources of a movie: Y = A C + b f + noise.

    Attributes:
        shape: (H, W) of the movie.
        ids: (N,) int64, stable: a component that survives the refit keeps its id.
        footprints: A, CSC (H*W, N) float32, >= 0, each of unit L2 norm.
        traces: C, (N, T) float32, >= 0, denoised, without the baseline.
        spikes: S, (N, T) float32, >= 0, in the units of `traces`.
        residual_traces: YrA, (N, T) float32; `traces + residual_traces` is the noisy trace of the component alone.
        background_footprints: b, CSC (H*W, nb) float32, >= 0; columns may have local support (tiles of neuropil).
        background_traces: f, (nb, T) float32.
        baseline: (N,) float32, constant fluorescence of each component that was taken out of `traces`. It is part of
            the background: `A C + b f` is the whole movie, whatever the baselines are.
        noise: (N,) float32, standard deviation of the noise of each trace.
        ar_coefficients: g, (N, p) float32.
        lam: (N,) float32, sparsity penalty (or minimal spike size) of the deconvolution.
        pixel_noise: sn, (H, W) float32.
        neuron_half_width_px: half-width in px of a neuron that the components were searched with; none: unknown.
        n_fitted_background: leading background components that the engine fitted, which a refit starts from; the rest
            are constants that the engine had taken out of the movie. None: all of them.
        lineage: what the refit did with each component of the first fit; empty after a first fit.
        provenance: engine, its version, and its parameters as JSON.
    """

    shape: tuple[int, int]
    ids: NDArray[np.int64]
    footprints: sp.csc_array
    traces: Float
    spikes: Float
    residual_traces: Float
    background_footprints: sp.csc_array
    background_traces: Float
    baseline: Float
    noise: Float
    ar_coefficients: Float
    lam: Float
    pixel_noise: Float
    neuron_half_width_px: int | None = None
    n_fitted_background: int | None = None
    lineage: tuple[LineageEntry, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: list[str] = []
        N, T = len(self.ids), self.background_traces.shape[1]
        n_pixels, nb = self.shape[0] * self.shape[1], len(self.background_traces)
        if self.footprints.shape != (n_pixels, N):
            problems.append(f"footprints should have shape {(n_pixels, N)}, have {self.footprints.shape}")
        elif self.footprints.nnz and not (np.isfinite(self.footprints.data).all() and self.footprints.data.min() >= 0):
            problems.append("footprints hold negative, NaN or infinite values")
        if len(np.unique(self.ids)) != N:
            problems.append("ids are not unique")
        for name in ("traces", "spikes", "residual_traces"):
            _expect(problems, name, getattr(self, name), (N, T))
        negative = [n for n in ("traces", "spikes") if getattr(self, n).size and getattr(self, n).min() < 0]
        problems += [f"{name} hold negative values" for name in negative]
        b = self.background_footprints
        if not sp.issparse(b) or b.shape != (n_pixels, nb):
            problems.append(f"background_footprints should be sparse of shape {(n_pixels, nb)}, have shape {b.shape}")
        elif b.nnz and not (np.isfinite(b.data).all() and b.data.min() >= 0):
            problems.append("background_footprints hold negative, NaN or infinite values")
        _expect(problems, "background_traces", self.background_traces, (nb, T))
        _expect(problems, "ar_coefficients", self.ar_coefficients, (N, self.ar_coefficients.shape[-1]))
        for name in ("baseline", "noise", "lam"):
            _expect(problems, name, getattr(self, name), (N,))
        _expect(problems, "pixel_noise", self.pixel_noise, self.shape)
        if self.n_fitted_background is not None and not 0 <= self.n_fitted_background <= nb:
            problems.append(f"n_fitted_background should be 0 to {nb}, is {self.n_fitted_background}")
        _check(problems, self)

    @property
    def n_components(self) -> int:
        return len(self.ids)

    @property
    def n_frames(self) -> int:
        return self.background_traces.shape[1]

    def select(self, keep: NDArray) -> "Components":
        """The components of a boolean mask or an index array, everything else unchanged."""
        per_component = ("ids", "traces", "spikes", "residual_traces", "baseline", "noise", "ar_coefficients", "lam")
        return replace(
            self,
            footprints=sp.csc_array(self.footprints[:, keep]),
            **{n: getattr(self, n)[keep] for n in per_component},
        )


@dataclass(frozen=True, eq=False)
class ComponentQuality:
    """How far components can be trusted.

    Attributes:
        snr: (N,) float32, exceptionality of the transients, on CaImAn's scale.
        r_value: (N,) float32, correlation of the footprint with the mean frame of its transients; 0 where it has none.
        classifier_score: (N,) float32 in 0..1, or none where no classifier was asked for.
        accepted: (N,) bool.
        reasons: one for each component, such as `accepted: snr` or `rejected: r_value 0.41 < 0.85`.
        n_transients: (N,) int64, transients that were used.
        provenance: engine, its version, and its parameters as JSON.
    """

    snr: Float
    r_value: Float
    accepted: NDArray[np.bool_]
    reasons: tuple[str, ...]
    n_transients: NDArray[np.int64]
    classifier_score: Float | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: list[str] = []
        N = len(self.snr)
        for name in ("snr", "r_value", "accepted", "n_transients"):
            _expect(problems, name, getattr(self, name), (N,))
        if len(self.reasons) != N:
            problems.append(f"reasons should be {N}, are {len(self.reasons)}")
        if self.classifier_score is not None:
            _expect(problems, "classifier_score", self.classifier_score, (N,))
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class SummaryImages:
    """Images of a movie over time, (H, W) float32 each.

    Attributes:
        mean: mean over time.
        maximum: maximum over time.
        standard_deviation: population standard deviation over time.
        correlation: mean correlation over time of each pixel with its (up to) 8 neighbours; 0 for constant pixels.
    """

    mean: Float
    maximum: Float
    standard_deviation: Float
    correlation: Float

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.mean.ndim != 2:
            problems.append(f"mean should be (H, W), has shape {self.mean.shape}")
        for name in ("mean", "maximum", "standard_deviation", "correlation"):
            _expect(problems, name, getattr(self, name), self.mean.shape)
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """Pixel values of each frame, (T,) float64 each.

    Attributes:
        minimum: lowest value.
        mean: mean value.
        maximum: highest value.
        saturated_share: share of pixels (0..1) at the highest value of the whole movie; 0 in a movie of one value.
    """

    minimum: NDArray[np.float64]
    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]
    saturated_share: NDArray[np.float64]

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in ("minimum", "mean", "maximum", "saturated_share"):
            _expect(problems, name, getattr(self, name), (len(self.mean),))
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class DeltaFOverF:
    """Relative change of the fluorescence of N components over T frames.

    Attributes:
        dff: (N, T) float32, (F - its running percentile) / F0; 1 is 100 %.
        f0: (N, T) float32 > 0, the denominator, in the units of the movie.
        guarded: (N,) bool, components whose F0 was too low somewhere and was raised to its guard there.
        dark_level: counts of a pixel in the dark that were taken out of F0.
    """

    dff: Float
    f0: Float
    guarded: NDArray[np.bool_]
    dark_level: float = 0.0

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.dff.ndim != 2:
            problems.append(f"dff should be (N, T), has shape {self.dff.shape}")
        _expect(problems, "dff", self.dff, self.dff.shape)
        _expect(problems, "f0", self.f0, self.dff.shape)
        _expect(problems, "guarded", self.guarded, self.dff.shape[:1])
        if self.f0.size and self.f0.min() <= 0:
            problems.append("f0 should be above 0 everywhere")
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class SpikeInference:
    """How many spikes N components fired in T frames, as far as their traces tell.

    Attributes:
        rates: (N, T) float32 >= 0, expected spikes a frame, in units of the component's own typical
            transient amplitude: a number of spikes up to a factor that the trace alone does not tell.
        event_probability: (N, T) float32 in 0..1, probability that the component fired in the frame.
        decay_time_s: (N,) float32, decay of its calcium.
        transient_amplitude: (N,) float32, mean amplitude of a transient, in the units of the trace; 0 for a trace
            without noise.
        noise: (N,) float32, standard deviation of the noise of the trace.
    """

    rates: Float
    event_probability: Float
    decay_time_s: Float
    transient_amplitude: Float
    noise: Float

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.rates.ndim != 2:
            problems.append(f"rates should be (N, T), have shape {self.rates.shape}")
        for name in ("rates", "event_probability"):
            _expect(problems, name, getattr(self, name), self.rates.shape)
        for name in ("decay_time_s", "transient_amplitude", "noise"):
            _expect(problems, name, getattr(self, name), self.rates.shape[:1])
        if self.rates.size and self.rates.min() < 0:
            problems.append("rates should not be below 0")
        _check(problems, self)
