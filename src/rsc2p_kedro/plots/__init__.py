"""One figure per function: arrays in, a matplotlib figure out. Nothing here knows of Kedro, paths or files."""
