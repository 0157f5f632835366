"""Results of recordings for readers: automatic assessments, and self-contained HTML pages."""
