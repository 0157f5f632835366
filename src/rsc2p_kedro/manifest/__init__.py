"""The manifest of recordings: its model, the search for recordings on disk, checks, and the configuration loader.

Imports `datasets`, `nwb`, `simulation` and `core`.
"""
