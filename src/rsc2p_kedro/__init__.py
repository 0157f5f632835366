"""Processing of two-photon calcium imaging recordings, from TIFF frames to inspected, DANDI-ready NWB files.

The subpackages form layers: each imports only modules of its own and of the layers below (docs/design.md).
"""

__version__ = "0.1.0"
