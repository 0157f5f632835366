"""Which recordings there are: models of the manifest, scan, checks, and the configuration loader that knows it."""
