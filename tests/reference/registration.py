"""Plain, slow versions of the registration kernels, and movies with exactly known motion."""

from collections.abc import Callable

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

Displacement = Callable[[int, NDArray, NDArray], tuple[NDArray | float, NDArray | float]]


class CosineScene:
    """A scene that can be evaluated at any position: a sum of cosines of wavelengths of 6 to 40 px, of mean 1.

    Rows (H, 1) and columns (1, W) give an image (H, W) by products of waves along each axis, many times as fast.
    """

    def __init__(self, seed: int = 0, n_waves: int = 150, contrast: float = 0.35) -> None:
        rng = np.random.default_rng(seed)
        angle, wavelength = rng.uniform(0, 2 * np.pi, n_waves), rng.uniform(6, 40, n_waves)
        self.wave = 2 * np.pi / wavelength * np.stack([np.sin(angle), np.cos(angle)])
        self.phase = rng.uniform(0, 2 * np.pi, n_waves)
        self.amplitude = contrast * np.sqrt(2 / n_waves)

    def __call__(self, y: NDArray, x: NDArray) -> NDArray:
        if y.shape[1:] == (1,) and x.shape[:1] == (1,):  # cos(a + b) = cos a cos b - sin a sin b
            a, b = y * self.wave[0], x.T * self.wave[1] + self.phase
            cosines, sines = (np.einsum("yw,xw->yx", wave(a), wave(b)) for wave in (np.cos, np.sin))
            return 1 + self.amplitude * (cosines - sines)
        total = np.zeros(np.broadcast(y, x).shape)
        for ky, kx, phase in zip(*self.wave, self.phase, strict=True):
            total += np.cos(ky * y + kx * x + phase)
        return 1 + self.amplitude * total


def moving_movie(
    n_frames: int, shape: tuple[int, int], displacement: Displacement, *, photons: float = 100.0, seed: int = 0
) -> NDArray[np.uint16]:
    """Frames of a scene whose content is displaced by +d(t, y, x), with shot noise; 20 units a photon, offset 100."""
    scene, rng = CosineScene(seed), np.random.default_rng(seed + 1)
    y, x = np.arange(float(shape[0]))[:, None], np.arange(float(shape[1]))[None]
    movie = np.empty((n_frames, *shape), np.uint16)
    for t in range(n_frames):
        dy, dx = displacement(t, y, x)
        rate = photons * np.clip(scene(y - dy, x - dx), 0, None)
        movie[t] = np.rint(20 * rng.poisson(rate) + 100).clip(0, 65535)
    return movie


def rigid(shifts: NDArray) -> Displacement:
    """The displacement of shifts (T, 2) of whole frames."""
    return lambda t, y, x: (shifts[t, 0], shifts[t, 1])


def keys_kernel(distance: NDArray) -> NDArray:
    """Keys' cubic convolution kernel, a = -1/2."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def warp_frame(frame: NDArray, field: NDArray) -> NDArray:
    """A frame (H, W) interpolated along a dense field (2, H, W), pixel by pixel."""
    H, W = frame.shape
    out = np.empty((H, W))
    for y in range(H):
        for x in range(W):
            fy, fx = np.clip(y + field[0, y, x], 0, H - 1), np.clip(x + field[1, y, x], 0, W - 1)
            rows, columns = int(fy) + np.arange(-1, 3), int(fx) + np.arange(-1, 3)
            values = frame[np.clip(rows, 0, H - 1)[:, None], np.clip(columns, 0, W - 1)]
            out[y, x] = keys_kernel(fy - rows) @ values @ keys_kernel(fx - columns)
    return out


def valid_mask(fields: NDArray) -> NDArray[np.bool_]:
    """Pixels whose source lies within the frame in each of the dense fields (T, 2, H, W)."""
    H, W = fields.shape[2:]
    y, x = np.mgrid[:H, :W]
    fy, fx = y + fields[:, 0], x + fields[:, 1]
    return ((fy >= -1e-3) & (fy <= H - 1 + 1e-3) & (fx >= -1e-3) & (fx <= W - 1 + 1e-3)).all(0)


def right_hand_side(
    frame: NDArray,
    field: NDArray,
    template: NDArray,
    clip_limit: NDArray,
    weighted_gradient: NDArray,
    basis_y: NDArray,
    basis_x: NDArray,
) -> NDArray:
    """Right-hand side (2, Py, Px) of the normal equations of one frame at a dense field (2, H, W)."""
    H, W = frame.shape
    y, x = np.mgrid[:H, :W] + field
    valid = (y >= 0) & (x >= 0) & (y <= H - 1) & (x <= W - 1)
    warped = ndi.map_coordinates(frame.astype(float), [y, x], order=1, mode="nearest")
    gain, offset = np.polyfit(template[valid], warped[valid], 1)
    residual = np.where(valid, np.clip((warped - offset) / gain - template, -clip_limit, clip_limit), 0)
    return np.einsum("ayx,yx,iy,jx->aij", weighted_gradient, residual, basis_y, basis_x, optimize=True)


def weighted_gradient(template: NDArray, variance: NDArray, high_pass_sigma: float) -> NDArray:
    """The gradient (2, H, W) of a template, high-passed, divided by the variance, and high-passed again."""

    def high_passed(image: NDArray) -> NDArray:
        return image - ndi.gaussian_filter(image, high_pass_sigma, mode="nearest", truncate=3)

    return np.stack([high_passed(high_passed(g) / variance) for g in np.gradient(template.astype(float))])


def spline_gram_matrix(weights: NDArray, basis_y: NDArray, basis_x: NDArray) -> NDArray:
    """Sums over pixels of w B_i B_j as (P, P)."""
    splines = np.einsum("iy,jx->ijyx", basis_y, basis_x).reshape(len(basis_y) * len(basis_x), -1).astype(float)
    return (splines * weights.ravel()) @ splines.T


def correlation_surface(frame: NDArray, kernel: NDArray, radius: tuple[int, int]) -> NDArray:
    """Sum over x of I(x + l) K(x) at lags within ±radius, with wrap-around."""
    ry, rx = radius
    lags = [[(dy, dx) for dx in range(-rx, rx + 1)] for dy in range(-ry, ry + 1)]
    return np.array([[(np.roll(frame, (-dy, -dx), (0, 1)) * kernel).sum() for dy, dx in row] for row in lags])
