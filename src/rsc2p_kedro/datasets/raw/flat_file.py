"""Files of nothing but pixels, whose shape is told elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import ImageFile, unreadable


@dataclass(frozen=True, eq=False)
class FlatFile(ImageFile):
    """A file of frames without any header; its images are the channels of its frames, channel by channel.

    Attributes:
        path: the file.
        shape: (H, W) of its images.
        dtype: of its pixels, with the byte order of the file.
        n_frames: number of complete frames.
        samples: number of channels that alternate from pixel to pixel within a frame.
        inverted: whether pixels are stored as the maximum of their dtype minus their value.
        problems: problems of the file, one text each.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    n_frames: int
    samples: int = 1
    inverted: bool = False
    problems: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images in the file."""
        return self.n_frames * self.samples

    def read(self, images: Sequence[int], out: NDArray) -> None:
        buffer = np.empty((*self.shape, self.samples), self.dtype)
        try:
            with self.path.open("rb", buffering=0) as stream:
                for image, number in zip(out, images, strict=True):
                    frame, sample = divmod(number, self.samples)
                    stream.seek(frame * buffer.nbytes)
                    if stream.readinto(buffer.data.cast("B")) != buffer.nbytes:  # type: ignore[attr-defined]
                        raise EOFError("the file is truncated")
                    image[...] = ~buffer[..., sample] if self.inverted else buffer[..., sample]
        except (OSError, EOFError) as error:
            raise unreadable(self.path, images, error) from error


def complete_frames(path: Path, shape: tuple[int, int], dtype: np.dtype, samples: int = 1) -> tuple[int, list[str]]:
    """Counts the frames of a file without a header.

    Args:
        path: the file.
        shape: (H, W) of its frames.
        dtype: of its pixels.
        samples: number of channels that alternate from pixel to pixel.

    Returns:
        The number of complete frames, and a note if the file ends within a frame.
    """
    n_bytes = shape[0] * shape[1] * samples * dtype.itemsize
    n_frames, rest = divmod(path.stat().st_size, n_bytes)
    return n_frames, [f"{path.name} ends within a frame, which is left out"] if rest else []
