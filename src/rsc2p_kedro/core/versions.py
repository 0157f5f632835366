"""Versions of what computes the results of each stage.

A version is raised when the results of its stage change for the same input and parameters. All stored results of the
stage, and of the stages after it, are then made again. `tests/core/test_versions.py` compares results of a small
recording with those that were stored for the present versions, and so forces the change.
"""

STAGE_VERSIONS = {
    "simulation": 1,
    "ingestion": 3,
    "motion_correction": 1,
    "source_extraction": 3,
    "evaluation": 4,
    "tracking": 1,
    "export": 1,
    "reporting": 2,
    "engine_comparison": 1,
    "reproducibility": 1,
}
