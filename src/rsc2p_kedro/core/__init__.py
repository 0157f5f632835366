"""Data that pass between the stages: result records, parameters, table schemas and provenance.

The lowest layer: imports no other package of this project.
"""
