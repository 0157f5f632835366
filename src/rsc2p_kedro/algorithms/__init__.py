"""Numerical algorithms of the embedded engine, as pure functions on arrays; one package or module per topic.

Imports only `core`, and neither Kedro nor libraries that read or write files.
"""
