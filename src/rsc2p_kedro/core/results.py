"""The records that engines return: the contract between the stages.

Each record is a small frozen dataclass that checks its shapes, and that its numbers are finite, when it is made. The
dtypes given below are those that the engines write; every record is saved as `.npz` without pickles.

Conventions of the whole project. T is the number of frames, (H, W) the height and width of a frame in px, N the number
of components, P the number of registration patches and K the number of background components.

- Images are (H, W), row then column; movies are (T, H, W), time first.
- Footprints are sparse (CSC) of shape (H*W, N); pixel (y, x) is row y * W + x (C order).
- Traces are (N, T). *Counts* are the units of the movie, the numbers that the digitizer wrote.
- Shifts are (dy, dx) in px, to be *applied* to a frame: minus the displacement of its content.
- Coordinates are (y, x) in px; (0, 0) is the centre of the first pixel.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]
COMPONENT_CLASSES = ("soma", "process", "out_of_focus", "other")
"""What a component can be by the classifier: the soma of a neuron; a dendrite, axon or bouton; a soma above or below
the focal plane; a piece of a soma or of neuropil, a vessel, noise."""
SILENT = "silent"
"""Class of components without transients, which were found by their shape in the mean image."""


def _check(problems: list[str], record: object) -> None:
    """Raises a ValueError that names all problems of a record at once."""
    if problems:
        raise ValueError(f"{type(record).__name__} is inconsistent: " + "; ".join(problems) + ".")


def _expect(problems: list[str], name: str, value: NDArray, shape: tuple[int, ...], *, finite: bool = True) -> None:
    """Adds to `problems` an unexpected shape of an array, or NaN or infinity in it."""
    if value.shape != shape:
        problems.append(f"{name} should have shape {shape}, has {value.shape}")
    elif finite and value.dtype.kind == "f" and not np.isfinite(value).all():
        problems.append(f"{name} holds NaN or infinity")


@dataclass(frozen=True, eq=False)
class MotionCorrection:
    """Estimated motion of a recording. P is 0 where only rigid shifts were estimated.

    Attributes:
        template: (H, W) float32, counts; the image that the frames were registered to.
        shifts: (T, 2) float32, rigid shift (dy, dx) in px to be applied to each frame.
        patch_shifts: (T, P, 2) float32, shift (dy, dx) in px to be applied at each patch centre: the whole shift, not
            its deviation from the rigid one.
        patch_centres: (P, 2) float32, (y, x) in px of the centres of the patches.
        valid_mask: (H, W) bool, pixels of the template that lie within every registered frame.
        peak_quality: (T,) float32, height of the peak of the cross-correlation with the template, in standard
            deviations of the cross-correlation around it.
        registered: (T,) bool, false for frames that could not be registered; their shifts are interpolated over time,
            or 0.
        patch_stride_px: distance between the centres of neighbouring patches in px; None for rigid shifts.
        patch_overlap_px: overlap of neighbouring patches in px; None for rigid shifts.
        provenance: name and version of the engine, and its parameters as JSON.

    Raises:
        ValueError: shapes do not agree, or an array holds NaN or infinity.
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
        """Number of frames T."""
        return len(self.shifts)

    @property
    def piecewise(self) -> bool:
        """Whether shifts of patches were estimated (P > 0)."""
        return len(self.patch_centres) > 0


@dataclass(frozen=True, eq=False)
class MotionQuality:
    """Registration quality of a movie before and after motion correction.

    Attributes:
        frame_correlation_before: (T,) float32, Pearson correlation of each raw frame with the template.
        frame_correlation_after: (T,) float32, the same of each corrected frame.
        correlation_before: mean of `frame_correlation_before` over the registered frames.
        correlation_after: mean of `frame_correlation_after` over the registered frames.
        crispness_before: L2 norm of the spatial gradient of the mean image of the raw movie without the share of noise,
            in counts per px.
        crispness_after: the same of the corrected movie.
        residual_before: residual motion of the raw movie in px: the root mean square displacement between the mean
            images at the two ends of each of the first principal components of the movie.
        residual_after: the same of the corrected movie.
        registered_fraction: registered frames as a fraction of all, 0 to 1.
        correlation_error: standard error of the change of the mean correlation; NaN where the movie is too short.
        crispness_error: the same of the crispness.
        residual_error: the same of the residual motion.
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
    correlation_error: float = np.nan
    crispness_error: float = np.nan
    residual_error: float = np.nan

    def rows(self) -> list[tuple[str, float, float, float, bool]]:
        """Rows of the motion quality table.

        Returns:
            For each measure its name, its value before and after the correction, the standard error of the change, and
            whether it improved.
        """
        correlation = self.correlation_before, self.correlation_after
        crispness = self.crispness_before, self.crispness_after
        residual = self.residual_before, self.residual_after
        return [
            ("template_correlation", *correlation, self.correlation_error, correlation[1] > correlation[0]),
            ("crispness", *crispness, self.crispness_error, crispness[1] > crispness[0]),
            ("residual_motion_px", *residual, self.residual_error, residual[1] < residual[0]),
        ]


@dataclass(frozen=True)
class LineageEntry:
    """Lineage of one component between the first fit and the refit.

    Attributes:
        component_id: id of the component; for a removed one, its id in the first fit.
        event: `kept`, `merged` (others were merged into it), `split`, `new` or `removed`.
        parents: ids of the components of the first fit that it came from.
        reason: reason for the event, in words.
    """

    component_id: int
    event: str
    parents: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Components:
    """Components (ROIs) of a movie in the model of CNMF: Y = A C + b f + noise (Pnevmatikakis et al. 2016).

    Y is the movie in counts, flattened to (H*W, T). Footprints are dimensionless, so that traces are in counts as well.

    Attributes:
        shape: (H, W) of the movie.
        ids: (N,) int64, unique; a component that survives the refit keeps its id.
        footprints: A, CSC (H*W, N) float32, >= 0; each column has unit L2 norm.
        traces: C, (N, T) float32, >= 0, denoised fluorescence above the baseline.
        spikes: S, (N, T) float32, >= 0, deconvolved activity in the units of `traces`: the increments of C that its
            autoregressive model does not explain.
        residual_traces: YrA, (N, T) float32, the residual of the model under each footprint, in the units of `traces`;
            `traces + residual_traces` is the noisy trace, free of the other components and of the background.
        background_footprints: b, CSC (H*W, K) float32, >= 0; columns may have local support (neuropil).
        background_traces: f, (K, T) float32; b f is in counts.
        baseline: (N,) float32, constant fluorescence of each component that is not in `traces`, in their units. It is
            part of the background: A C + b f is the whole movie whatever the baselines are.
        noise: (N,) float32, standard deviation of the noise of each noisy trace, in the units of `traces`.
        ar_coefficients: g, (N, p) float32, coefficients of the autoregressive model of calcium, per frame:
            c(t) = sum over k of g_k c(t - k) + s(t).
        lam: (N,) float32, sparsity penalty of the deconvolution, or the smallest spike size where the engine has that
            instead; in the units of `traces`.
        pixel_noise: sn, (H, W) float32, standard deviation of the noise of each pixel, in counts.
        neuron_half_width_px: half-width of a neuron in px that the extraction was run with, given or found; None if
            unknown.
        n_fitted_background: number of leading background components that the engine fitted and a refit starts from;
            the others are constants that the engine subtracted from the movie. None means all K.
        silent: (N,) bool, components found by their shape in the mean image instead of by their transients; None if
            there are none.
        lineage: changes by the refit, one entry per component; empty after a first fit.
        provenance: name and version of the engine, and its parameters as JSON.

    Raises:
        ValueError: shapes do not agree, ids repeat, A, b, C or S hold negative values, or an array holds NaN or
            infinity.
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
    neuron_half_width_px: float | None = None
    n_fitted_background: int | None = None
    silent: NDArray[np.bool_] | None = None
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
        if self.silent is not None:
            _expect(problems, "silent", self.silent, (N,))
            if self.silent.dtype != np.bool_:
                problems.append(f"silent should be bool, is {self.silent.dtype}")
        if self.neuron_half_width_px is not None and not 0 < self.neuron_half_width_px < np.inf:
            problems.append(f"neuron_half_width_px should be positive, is {self.neuron_half_width_px}")
        if self.n_fitted_background is not None and not 0 <= self.n_fitted_background <= nb:
            problems.append(f"n_fitted_background should be 0 to {nb}, is {self.n_fitted_background}")
        _check(problems, self)

    @property
    def n_components(self) -> int:
        """Number of components N."""
        return len(self.ids)

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return self.background_traces.shape[1]

    @property
    def is_silent(self) -> NDArray[np.bool_]:
        """Whether each component was found by its shape in the mean image, (N,) bool."""
        return np.zeros(self.n_components, bool) if self.silent is None else self.silent

    def select(self, keep: NDArray) -> "Components":
        """Selects components; background, pixel noise and lineage stay as they are.

        Args:
            keep: (N,) bool mask, or indices of the components to keep, in the wanted order.

        Returns:
            A record of the selected components, with their ids.
        """
        per_component = ("ids", "traces", "spikes", "residual_traces", "baseline", "noise", "ar_coefficients", "lam")
        return replace(
            self,
            footprints=sp.csc_array(self.footprints[:, keep]),
            silent=None if self.silent is None else self.silent[keep],
            **{n: getattr(self, n)[keep] for n in per_component},
        )


@dataclass(frozen=True, eq=False)
class ComponentQuality:
    """Quality of N components, and which of them are accepted as cells.

    Attributes:
        snr: (N,) float32, signal-to-noise ratio of the transients, on CaImAn's scale.
        r_value: (N,) float32, -1 to 1, spatial consistency: the correlation of the footprint with the mean image of its
            transients, other components and background removed; 0 where there is no transient.
        accepted: (N,) bool.
        reasons: one for each component, such as `accepted: snr` or `rejected: r_value 0.41 < 0.85`.
        n_transients: (N,) int64, number of transients that `r_value` was computed from.
        classifier_score: (N,) float32, 0 to 1, of the embedded engine the probability of `soma`; None where no
            classifier was used.
        component_class: one of `COMPONENT_CLASSES` or `SILENT` for each component; None where no classifier was used.
        class_probabilities: (N, 4) float32, calibrated probabilities in the order of `COMPONENT_CLASSES`; rows sum to
            1. None where no classifier was used.
        provenance: name and version of the engine, and its parameters as JSON.

    Raises:
        ValueError: shapes do not agree, an array holds NaN or infinity, a class is unknown, or probabilities do not
            sum to 1.
    """

    snr: Float
    r_value: Float
    accepted: NDArray[np.bool_]
    reasons: tuple[str, ...]
    n_transients: NDArray[np.int64]
    classifier_score: Float | None = None
    component_class: tuple[str, ...] | None = None
    class_probabilities: Float | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: list[str] = []
        N = len(self.snr)
        for name in ("snr", "r_value", "accepted", "n_transients"):
            _expect(problems, name, getattr(self, name), (N,))
        if len(self.reasons) != N:
            problems.append(f"there should be {N} reasons, there are {len(self.reasons)}")
        if self.classifier_score is not None:
            _expect(problems, "classifier_score", self.classifier_score, (N,))
        problems += self._class_problems()
        _check(problems, self)

    def _class_problems(self) -> list[str]:
        """Problems of classes and probabilities, which come together or not at all."""
        classes, probabilities = self.component_class, self.class_probabilities
        if classes is None or probabilities is None:
            together = classes is None and probabilities is None
            return [] if together else ["component_class and class_probabilities should be given together"]
        problems: list[str] = []
        if len(classes) != len(self.snr):
            problems.append(f"there should be {len(self.snr)} classes, there are {len(classes)}")
        if unknown := sorted(set(classes) - {*COMPONENT_CLASSES, SILENT}):
            problems.append(f"unknown classes: {', '.join(unknown)}")
        _expect(problems, "class_probabilities", probabilities, (len(self.snr), len(COMPONENT_CLASSES)))
        in_range = ((probabilities >= 0) & (probabilities <= 1)).all()
        if not problems and not (in_range and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)):
            problems.append("class_probabilities should be 0 to 1 and sum to 1 over each row")
        return problems


@dataclass(frozen=True, eq=False)
class SummaryImages:
    """Summary images of a movie, each (H, W) float32.

    Attributes:
        mean: mean over time, in counts.
        maximum: maximum over time, in counts.
        standard_deviation: population standard deviation over time, in counts.
        correlation: local correlation image, -1 to 1: mean correlation over time of a pixel with its (up to) 8
            neighbours (Smith & Haeusser 2010, doi 10.1038/nn.2620); 0 for constant pixels.

    Raises:
        ValueError: shapes do not agree, or an image holds NaN or infinity.
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
    """Statistics of the pixel values of each frame, each (T,) float64.

    Attributes:
        minimum: lowest value, in counts.
        mean: mean value, in counts.
        maximum: highest value, in counts.
        saturated_share: fraction of the pixels, 0 to 1, that have the highest value of the whole movie; 0 in a movie
            that has only one value.

    Raises:
        ValueError: shapes do not agree, or an array holds NaN or infinity.
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
class LineOffset:
    """Offset of odd rows of bidirectional scanning, as it was corrected in the movie.

    Attributes:
        offset_px: displacement of the content of odd rows (1, 3, ...) relative to even rows along x in px, positive to
            the right; odd rows were moved by minus this.
        offsets: (K,) int64, px, the offsets that were tried; empty if none was estimated.
        mismatch: (K,) float64, mean squared difference of odd rows from their neighbours after a correction by each of
            these, relative to no correction.

    Raises:
        ValueError: shapes do not agree, or an array holds NaN or infinity.
    """

    offset_px: int
    offsets: NDArray[np.int64]
    mismatch: NDArray[np.float64]

    def __post_init__(self) -> None:
        problems: list[str] = []
        _expect(problems, "mismatch", self.mismatch, self.offsets.shape)
        _check(problems, self)

    @classmethod
    def not_estimated(cls, offset_px: int = 0) -> "LineOffset":
        """An offset that was given instead of estimated.

        Args:
            offset_px: the offset in px.

        Returns:
            The record, without mismatches.
        """
        return cls(offset_px, np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, eq=False)
class DetectorSaturation:
    """Saturation of the detector, from the noise of the pixels as a function of their level.

    Attributes:
        level: count from which the variance is below that of photon noise; None if there is no such level.
        share: fraction of the pixel values, 0 to 1, above that level; 0 if there is none.
        levels: (K,) float64, counts, ascending; levels at which the variance was measured.
        noise_variance: (K,) float64, counts squared, variance of the noise at these levels.
        expected_variance: (K,) float64, the same of a detector that does not saturate: a line fitted to the levels
            below saturation.

    Raises:
        ValueError: shapes do not agree, an array holds NaN or infinity, or the share is not a fraction.
    """

    level: float | None
    share: float
    levels: NDArray[np.float64]
    noise_variance: NDArray[np.float64]
    expected_variance: NDArray[np.float64]

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in ("levels", "noise_variance", "expected_variance"):
            _expect(problems, name, getattr(self, name), self.levels.shape)
        if not 0 <= self.share <= 1:
            problems.append(f"share should be 0 to 1, is {self.share}")
        _check(problems, self)


GIVEN, BLANK_FRAMES, NOISE, UNKNOWN = "given", "blank frames", "noise of the pixels", "unknown"
"""Where a dark level comes from."""


@dataclass(frozen=True, eq=False)
class DetectorResponse:
    """Dark level, gain and read noise of the detector, from the noise of the pixels over their level.

    Attributes:
        dark_level: counts of a pixel without light; None where it cannot be told.
        dark_level_error: its standard error in counts; 0 where there is no dark level.
        source: `noise of the pixels`, `blank frames` or `unknown`.
        gain: counts per photon; None where it cannot be told.
        gain_error: its standard error.
        read_noise: standard deviation of the noise without light, in counts.
        typical_level: median of the levels of the pixels, in counts.
        lowest_level: mean of the darkest group of pixels, in counts.
        noise_correlation: correlation of the noise of neighbouring pixels along y and x; 0 in raw movies.
        clipped_share: fraction of the pixels, 0 to 1, that were left out, as their values reach the lowest or highest
            one of the movie, or saturate.
        levels: (K,) float64, counts; mean level of groups of pixels.
        noise_variance: (K,) float64, counts squared, variance of the noise of these groups.
        third_moment: (K,) float64, counts cubed, third central moment of the noise.

    Raises:
        ValueError: shapes do not agree, an array holds NaN or infinity, or an error is negative.
    """

    dark_level: float | None
    dark_level_error: float
    source: str
    gain: float | None
    gain_error: float
    read_noise: float
    typical_level: float
    lowest_level: float
    noise_correlation: tuple[float, float]
    clipped_share: float
    levels: NDArray[np.float64]
    noise_variance: NDArray[np.float64]
    third_moment: NDArray[np.float64]

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in ("levels", "noise_variance", "third_moment"):
            _expect(problems, name, getattr(self, name), self.levels.shape)
        if min(self.dark_level_error, self.gain_error, self.read_noise) < 0:
            problems.append("errors and read noise should not be negative")
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class DeltaFOverF:
    """dF/F of N components over T frames.

    Attributes:
        dff: (N, T) float32, the noisy trace above its running percentile, over F0; 1 means 100 %.
        f0: (N, T) float32, > 0, the denominator, in the units of `Components.traces`.
        guarded: (N,) bool, components whose F0 was below the noise of the trace in some frame and was raised to it.
        dark_level: offset of the detector in counts per pixel that F0 does not include.
        dark_level_error: its standard error; None where it is unknown how far off it may be.
        dark_level_source: `given`, `blank frames`, `noise of the pixels` or `unknown`.
        neuropil_fraction: (N,) float32, part of the light around a component that its F0 does not include; None where
            F0 includes all light under the footprint.
        neuropil_f0: (N, T) float32, what F0 does not include for this reason; f0 + neuropil_f0 is F0 with it.
        noise_level: (N,) float32, noise of dF/F in % / sqrt(Hz).
        scale_error: (N,) float32, standard error of F0 relative to it that the dark level's error makes; None where
            that is unknown.
        photons: (N,) float32, photons per frame of the component at rest; None where the gain is unknown.
        d_prime: (N,) float32, detectability d' of a transient of 10 % dF/F if shot noise were the only noise.
        detector: response of the detector, from which these follow; None where it was not measured.

    Raises:
        ValueError: shapes do not agree, an array holds NaN or infinity, or F0 is not above 0.
    """

    dff: Float
    f0: Float
    guarded: NDArray[np.bool_]
    dark_level: float = 0.0
    dark_level_error: float | None = None
    dark_level_source: str = UNKNOWN
    neuropil_fraction: Float | None = None
    neuropil_f0: Float | None = None
    noise_level: Float | None = None
    scale_error: Float | None = None
    photons: Float | None = None
    d_prime: Float | None = None
    detector: DetectorResponse | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.dff.ndim != 2:
            problems.append(f"dff should be (N, T), has shape {self.dff.shape}")
        _expect(problems, "dff", self.dff, self.dff.shape)
        _expect(problems, "f0", self.f0, self.dff.shape)
        _expect(problems, "guarded", self.guarded, self.dff.shape[:1])
        if self.neuropil_f0 is not None:
            _expect(problems, "neuropil_f0", self.neuropil_f0, self.dff.shape)
        for name in ("neuropil_fraction", "noise_level", "scale_error", "photons", "d_prime"):
            if getattr(self, name) is not None:
                _expect(problems, name, getattr(self, name), self.dff.shape[:1])
        if self.f0.size and self.f0.min() <= 0:
            problems.append("f0 should be above 0 everywhere")
        _check(problems, self)


@dataclass(frozen=True, eq=False)
class SpikeInference:
    """Posterior means of spike inference for N components and T frames.

    Attributes:
        rates: (N, T) float32, >= 0, expected spikes per frame in units of the component's own typical transient
            amplitude: the number of spikes up to a factor that cannot be determined from a fluorescence trace.
        event_probability: (N, T) float32, 0 to 1, probability that the component fired in the frame.
        decay_time_s: (N,) float32, decay time constant of the calcium transients in s.
        transient_amplitude: (N,) float32, mean transient amplitude in the units of `Components.traces`; 0 for a trace
            without noise.
        noise: (N,) float32, standard deviation of the noise of the trace, in the same units.

    Raises:
        ValueError: shapes do not agree, an array holds NaN or infinity, or rates are negative.
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


@dataclass(frozen=True, eq=False)
class RedLabels:
    """Signals of N components in the structural channel, and the probability that they are labelled.

    Attributes:
        red_signal: (N,) float32, counts: mean of the structural channel inside the component minus that around it,
            after subtraction of the crosstalk; 0 where nothing around it is free of other components.
        red_probability: (N,) float32, 0..1, probability of being labelled; 0 likewise.
        red_contrast: (N,) float32, counts: the signal before subtraction of the crosstalk.
        functional_contrast: (N,) float32, counts: the same difference in the functional channel.
        crosstalk: part of the functional fluorescence that the structural channel detects.
        crosstalk_error: its standard error.
        null_centre: median of the signal at random places without components, in counts.
        null_scale: spread of the signal there, in counts.

    Raises:
        ValueError: shapes do not agree, a value is NaN or infinite, or a probability is not 0 to 1.
    """

    red_signal: Float
    red_probability: Float
    red_contrast: Float
    functional_contrast: Float
    crosstalk: float
    crosstalk_error: float
    null_centre: float
    null_scale: float

    def __post_init__(self) -> None:
        problems: list[str] = []
        N = len(self.red_signal)
        for name in ("red_signal", "red_probability", "red_contrast", "functional_contrast"):
            _expect(problems, name, getattr(self, name), (N,))
        if N and not (self.red_probability.min() >= 0 and self.red_probability.max() <= 1):
            problems.append("red_probability should be 0 to 1")
        numbers = (self.crosstalk, self.crosstalk_error, self.null_centre, self.null_scale)
        if not np.isfinite(numbers).all():
            problems.append("crosstalk and null distribution should be finite")
        _check(problems, self)
