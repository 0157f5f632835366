"""Records shared by the steps of CNMF: the inputs of the factorization, and its current state."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import background, binned_movie, detection
from rsc2p_kedro.algorithms.extraction.background import NeuropilBasis
from rsc2p_kedro.algorithms.extraction.binned_movie import BinnedMovie
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Factorization:
    """Current estimate of A, C and the neuropil on the binned movie. Footprints and gain are in units of its noise.

    Attributes:
        A: (H*W, N) CSC, footprints.
        C: (N, n), denoised traces.
        F: (K, n), time courses of the splines of the neuropil.
        gain: (H, W), brightness of the neuropil.
        parents: for each component, the rows of the initial list of components that were merged into it.
    """

    A: sp.csc_array
    C: NDArray
    F: NDArray
    gain: Float
    parents: tuple[tuple[int, ...], ...] = ()

    @property
    def n_components(self) -> int:
        """Number N of components."""
        return self.A.shape[1]

    def select(self, keep: NDArray) -> "Factorization":
        """Part of the components.

        Args:
            keep: their indices, ascending.

        Returns:
            The factorization without the others; neuropil unchanged.
        """
        parents = tuple(self.parents[j] for j in keep)
        return replace(self, A=sp.csc_array(self.A[:, keep]), C=self.C[keep], parents=parents)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data and settings of one factorization, which stay the same in all its steps.

    Attributes:
        binned: the binned movie, with mean and noise of its pixels.
        neuropil: splines of the neuropil.
        acquisition: frame rate, and decay time of the indicator.
        parameters: settings of the extraction.
        compute: resources of the machine; the result does not depend on them.
        half_width_px: half-width of a neuron in px, given or measured.
    """

    binned: BinnedMovie
    neuropil: NeuropilBasis
    acquisition: Acquisition
    parameters: ExtractionParameters
    compute: Compute
    half_width_px: float

    def with_half_width(self, half_width_px: float) -> "Inputs":
        """The same data for another size of neurons.

        Args:
            half_width_px: half-width of a neuron in px.

        Returns:
            The inputs with that half-width, and splines of the neuropil that suit it.
        """
        return replace(
            self, half_width_px=half_width_px, neuropil=_neuropil(self.binned, self.parameters, half_width_px)
        )

    @property
    def n_bins(self) -> int:
        """Length of the binned movie."""
        return len(self.binned.movie)

    @property
    def decay_bins(self) -> float:
        """Decay time of the indicator in bins."""
        return self.acquisition.decay_time_frames / self.binned.bin_frames

    @property
    def detection(self) -> detection.DetectionSettings:
        """Settings of candidate detection. A patch is 2 x half-width + 1 px wide, less the overlap with neighbours."""
        p = self.parameters
        patch_px = max(2 * p.patch_half_width_px + 1 - p.patch_overlap_px, 4)
        return detection.DetectionSettings(
            neuron_half_width_px=self.half_width_px,
            max_per_patch=p.components_per_patch,
            min_energy=detection.energy_threshold(self.n_bins, p.min_peak_to_noise),
            min_peak_amplitude=p.min_peak_to_noise,
            decay=float(np.exp(-self.binned.bin_frames / self.acquisition.decay_time_frames)),
            patch_px=(patch_px, patch_px),
            adaptive=p.initialization == "adaptive",
        )

    def to_noise_units(self, footprints: sp.csc_array) -> sp.csc_array:
        """Converts footprints from units of the movie to units of the noise of the binned movie.

        Args:
            footprints: (H*W, N) in units of the movie.

        Returns:
            CSC (H*W, N) float32, without pixels outside the mask.
        """
        weights = (self.binned.mask / self.binned.scale).reshape(-1, 1)
        A = sp.csc_array(footprints.multiply(weights), dtype=np.float32)
        A.eliminate_zeros()
        return A


def prepare(
    movie: blocks.Movie,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None,
    known_noise: NDArray | None = None,
    half_width_px: float = 4.0,
    saturation_level: float | None = None,
) -> Inputs:
    """Checks the inputs and reads the movie once: noise and mean of its pixels, and the binned movie.

    Args:
        movie: (T, H, W).
        acquisition: frame rate, and decay time of the indicator.
        parameters: settings of the extraction.
        compute: resources of the machine; the result does not depend on them.
        valid_mask: (H, W), pixels to use. None uses all.
        known_noise: (H, W), noise sd of each pixel from an earlier pass. None estimates it.
        half_width_px: half-width of a neuron in px, as far as it is known.
        saturation_level: value from which on the detector saturates, in units of the movie. None for never.

    Returns:
        The inputs of all later steps.

    Raises:
        ValueError: movie and mask do not fit together, or the movie has no real numbers, is too short, or holds NaN or
            infinity inside the mask.
    """
    problems = []
    if movie.ndim != 3:
        problems.append(f"movie should be (T, H, W), has shape {movie.shape}")
    elif valid_mask is not None and valid_mask.shape != movie.shape[1:]:
        problems.append(f"valid_mask should have shape {movie.shape[1:]}, has {valid_mask.shape}")
    if movie.dtype.kind not in "uif":
        problems.append(f"movie should hold real numbers, has dtype {movie.dtype}")
    if problems:
        raise ValueError("Cannot extract sources: " + "; ".join(problems) + ".")
    n_frames = len(movie)
    bin_frames = binned_movie.choose_bin_frames(
        n_frames, acquisition.decay_time_frames, parameters.temporal_downsampling
    )
    binned = binned_movie.bin_movie(
        movie,
        bin_frames,
        compute=compute,
        valid_mask=valid_mask,
        known_noise=known_noise,
        saturation_level=saturation_level,
    )
    neuropil = _neuropil(binned, parameters, half_width_px)
    return Inputs(binned, neuropil, acquisition, parameters, compute, half_width_px)


def _neuropil(binned: BinnedMovie, parameters: ExtractionParameters, half_width_px: float) -> NeuropilBasis:
    """Splines of the neuropil for a half-width of neurons."""
    return background.neuropil_basis(
        binned.shape, parameters.background_spacing * half_width_px, parameters.n_background
    )
