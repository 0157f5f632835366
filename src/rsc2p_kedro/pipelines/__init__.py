"""Kedro pipelines, one folder per stage: `nodes.py` contains the node functions, `pipeline.py` connects them.

Imports the layers below it, from `reports` to `core`. Nodes neither read nor write files.
"""
