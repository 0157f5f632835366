"""Names of objects in files of several planes or channels.

A file of one plane and channel has the names that readers look for (`TwoPhotonSeries`, `PlaneSegmentation`). Several
channels and planes follow them as in NeuroConv: `TwoPhotonSeriesGreenPlane1`, `PlaneSegmentationPlane1`.
"""

import re


def plane_suffix(plane: int | None) -> str:
    """Makes the end of the names of the objects of a plane.

    Args:
        plane: number of the plane, from 1; None where there is only one.

    Returns:
        `Plane1`, or nothing for the only plane.
    """
    return "" if plane is None else f"Plane{plane}"


def channel_label(channel: str) -> str:
    """Makes the part of a name that tells the channel.

    Args:
        channel: name of the channel, or its number as text.

    Returns:
        Letters and digits only, the first one a capital: `Green`, `Ch2`; `Channel2` for a number.
    """
    words = re.findall(r"[A-Za-z0-9]+", channel)
    label = "".join(word[0].upper() + word[1:] for word in words)
    return f"Channel{label}" if not label or label.isdecimal() else label
