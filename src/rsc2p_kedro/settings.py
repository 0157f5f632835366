"""Project settings of Kedro, see https://docs.kedro.org/en/stable/configure/configuration_basics/."""

import importlib.util
import logging
import sys

from rsc2p_kedro.core.log_filters import ValidatorKeyFilter
from rsc2p_kedro.hooks import RecordingsContext, SessionConfiguration, StartHook
from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader

CONTEXT_CLASS = RecordingsContext
HOOKS = (SessionConfiguration(), StartHook())

CONFIG_LOADER_CLASS = ManifestConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}

logging.getLogger("kedro.io.core").addFilter(ValidatorKeyFilter())

if importlib.util.find_spec("ibis") is None:
    # Kedro tries to import it for each parameter. To search all folders each time takes 7 s of 1000 recordings' start.
    sys.modules.setdefault("ibis", None)  # type: ignore[arg-type]
