"""For all tests."""

import os

os.environ["KEDRO_DISABLE_TELEMETRY"] = "1"
