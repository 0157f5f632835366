"""Figures, one per function, from arrays to a matplotlib figure.

Imports `algorithms`, and neither Kedro nor libraries that read or write files.
"""
