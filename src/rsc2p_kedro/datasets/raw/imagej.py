"""ImageJ's stacks and hyperstacks.

The first ImageDescription starts with `ImageJ=1.53t` and holds one `key=value` a line: `images`, `channels`, `slices`,
`frames`, `unit`, `finterval` (s) and others. Images lie channel by channel, slice by slice, frame by frame. Pixels per
unit are in XResolution and YResolution. ImageJ calls the images of any stack slices, unless it is told otherwise.
(https://imagej.net/ij/developer/source/ij/io/FileSaver.java.html)
"""

import re
from collections.abc import Mapping
from pathlib import Path

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, stepped_depths
from rsc2p_kedro.datasets.raw.stacks import PIXEL_SIZES_UM
from rsc2p_kedro.datasets.raw.tiff import read_stacks, typical_tiff
from rsc2p_kedro.datasets.raw.tiff_file import FirstPage, first_page

_MICROMETRES = {"um": 1.0, "µm": 1.0, "μm": 1.0, r"\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0}
_UM_PER_UNIT = {**_MICROMETRES, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": 25_400.0}


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects stacks of ImageJ.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems; None if these are no TIFFs of ImageJ.
    """
    file = typical_tiff(path, layout)
    if file is None or (page := first_page(file)).kind != "ImageJ":
        return None
    return read_stacks(path, layout, "ImageJ TIFF", _metadata(page, file.name))


def _metadata(page: FirstPage, name: str) -> dict[str, Told]:
    """Pixel size and frame rate, where the header tells them."""
    told: dict[str, Told] = {}
    header = dict(re.findall(r"^(\w+)=(.*?)\s*$", page.description, re.MULTILINE))
    scale = _UM_PER_UNIT.get(header.get("unit", "").lower())
    if scale and page.pixels_per_unit:
        x, y = (round(scale / pixels, 6) for pixels in page.pixels_per_unit)
        if all(PIXEL_SIZES_UM[0] <= size <= PIXEL_SIZES_UM[1] for size in (x, y)):
            told["pixel_size_um"] = Told((y, x), f"ImageJ header of {name}, XResolution, YResolution and unit")
    slices = int(_number(header, "slices", "1")) if _number(header, "frames", "1") > 1 else 1
    told |= stepped_depths(_number(header, "spacing") * (scale or 0), slices, f"ImageJ header of {name}, spacing")
    interval = _number(header, "finterval")
    if interval > 0:
        told["frame_rate_hz"] = Told(round(1 / interval, 6), f"ImageJ header of {name}, finterval")
    return told


def _number(header: Mapping[str, str], name: str, default: str = "0") -> float:
    """A number of the header, which may have a unit behind it; 0 if it is none."""
    found = re.match(r"\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)", header.get(name, default))
    return float(found[1]) if found else 0.0
