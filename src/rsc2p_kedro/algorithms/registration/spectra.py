"""Cross-correlation of frames with a template, at the few lags that matter.

The correlation C(l) = sum_x I(x + l) K(x) of a frame with a kernel K peaks where l is the displacement of the content.
K is the template less its blur, tapered to 0 at the edges, so that neither slow changes of brightness nor the
wrap-around of the Fourier transform count. One forward FFT a frame is needed; the inverse is a pair of small matrix
products, as only lags within ±radius are asked for. All in float32 / complex64.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft as sf
from numpy.typing import NDArray

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Correlator:
    """A template's spectrum and the partial inverse transforms.

    Attributes:
        size: (h, w) of the padded transforms.
        radius: (ry, rx), largest lags in px.
        spectrum: (h, w // 2 + 1) complex64, conjugate spectrum of the kernel.
        inverse_y: (2 ry + 1, h) complex64.
        inverse_x: (w // 2 + 1, 2 rx + 1) complex64.
        own: (4 ry + 1, 4 rx + 1) float32, correlation of the template with the kernel, 1 at lag 0.
    """

    size: tuple[int, int]
    radius: tuple[int, int]
    spectrum: Complex
    inverse_y: Complex
    inverse_x: Complex
    own: Float


def edge_taper(shape: tuple[int, int], width: float) -> Float:
    """(H, W) window: 1 inside, falling to 0 at the edges over `width` px (at most a third of the frame)."""
    sides = []
    for size in shape:
        distance = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
        sides.append(0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / min(width, size / 3), 1)))
    return np.outer(*sides).astype(np.float32)


def partial_inverse(size: tuple[int, int], radius: tuple[int, int]) -> tuple[Complex, Complex]:
    """Matrices (2 ry + 1, h) and (w // 2 + 1, 2 rx + 1) that invert a half spectrum at lags within ±radius."""
    (h, w), (ry, rx) = size, radius
    lags_y, lags_x = np.arange(-ry, ry + 1), np.arange(-rx, rx + 1)
    inverse_y = np.exp(2j * np.pi * np.outer(lags_y, np.arange(h)) / h) / h
    columns = np.arange(w // 2 + 1)
    twice = np.where((columns == 0) | (2 * columns == w), 1, 2)[:, None]
    inverse_x = twice * np.exp(2j * np.pi * np.outer(columns, lags_x) / w) / w
    return inverse_y.astype(np.complex64), inverse_x.astype(np.complex64)


def correlate(frames: Float, spectrum: Complex, size: tuple[int, int], inverse_y: Complex, inverse_x: Complex) -> Float:
    """Correlation (T, 2 ry + 1, 2 rx + 1) of frames (T, H, W) with the kernel of a conjugate spectrum."""
    out = np.empty((len(frames), len(inverse_y), inverse_x.shape[1]), np.float32)
    for t, frame in enumerate(frames):
        product = sf.rfft2(frame, s=size, workers=1)
        product *= spectrum
        out[t] = ((inverse_y @ product) @ inverse_x).real
    return out


def correlator(template: Float, kernel: Float, radius: int) -> Correlator:
    """Prepares the correlation of frames with a kernel.

    Args:
        template: (H, W) float32, of mean 0; what a perfect frame looks like.
        kernel: (H, W) float32, what frames are correlated with.
        radius: largest lag in px; less where the frame is smaller than four times as large.
    """
    size = (sf.next_fast_len(template.shape[0], real=True), sf.next_fast_len(template.shape[1], real=True))
    ry, rx = (max(1, min(radius, n // 4)) for n in template.shape)
    spectrum = np.conj(sf.rfft2(kernel, s=size, workers=1)).astype(np.complex64)
    own = correlate(template[None], spectrum, size, *partial_inverse(size, (2 * ry, 2 * rx)))[0]
    scale = max(float(own[2 * ry, 2 * rx]), float(np.finfo(np.float32).tiny))
    spectrum, own = (spectrum / np.float32(scale)).astype(np.complex64), own / np.float32(scale)
    return Correlator(size, (ry, rx), spectrum, *partial_inverse(size, (ry, rx)), own.astype(np.float32))


def surfaces(frames: Float, correlator: Correlator) -> Float:
    """Correlation (T, 2 ry + 1, 2 rx + 1) of frames; 1 at the peak for a frame like the template."""
    c = correlator
    return correlate(frames, c.spectrum, c.size, c.inverse_y, c.inverse_x)
