"""Algorithms of the embedded engine: pure functions on arrays, one topic a package or module."""
