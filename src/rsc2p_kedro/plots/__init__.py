"""Figures, one per function: arrays in, a matplotlib figure out. Nothing here depends on Kedro, paths or files."""
