"""Two-photon calcium imaging recordings in, inspected NWB files out."""

__version__ = "0.1.0"
