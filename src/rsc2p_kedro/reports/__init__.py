"""Automatic assessments of recordings, and self-contained HTML pages: report, index and curation page.

Imports `plots`, `manifest` and `core`.
"""
