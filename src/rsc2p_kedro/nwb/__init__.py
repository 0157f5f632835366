"""NWB files: metadata and their checks, conversion of results to NWB objects, writing and validation.

Imports `algorithms` and `core`. This is the only package that uses NWB's axis order.
"""
