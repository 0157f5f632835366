"""Where the results of datasets lie, found from the catalog without making thousands of dataset objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import parse
from kedro.io import CatalogProtocol

_NO_OPTIONS = ("type", "filepath", "versioned", "validator", "metadata", "threads", "show_progress")
"""Entries of the catalog that change nothing of what is loaded."""


@dataclass(frozen=True)
class Place:
    """Where the results of one dataset lie.

    Attributes:
        path: file or folder; of a dataset with versions, the folder that contains them.
        versioned: whether it has versions.
        pinned: version that `--load-versions` names. None takes the latest.
        options: entries of the catalog that decide what is loaded, such as the range of frames.
    """

    path: Path
    versioned: bool
    pinned: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def version(self) -> str | None:
        """Finds the version that would be loaded.

        Returns:
            The version; None if there is none, or the dataset has no versions.
        """
        if not self.versioned or self.pinned is not None:
            return self.pinned
        try:
            names = sorted((path.name for path in self.path.iterdir()), reverse=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return next((name for name in names if (self.path / name / self.path.name).exists()), None)

    def current(self) -> Path | None:
        """Finds the file or folder that would be loaded.

        Returns:
            Its path; None if it does not exist.
        """
        version = self.version()
        if self.versioned and version is None:
            return None
        path = self.path / str(version) / self.path.name if self.versioned else self.path
        return path if path.exists() else None


class Places:
    """Finds the place of each dataset.

    Kedro matches each name against all patterns and makes an object for each dataset, which takes about 1 ms; with
    hundreds of recordings, that is longer than the check whether their results are fresh.

    Attributes:
        found: places that were asked for, by name of the dataset.
    """

    def __init__(self, catalog: CatalogProtocol) -> None:
        """Compiles the patterns of the catalog.

        Args:
            catalog: catalog of the run.
        """
        self._catalog: Any = catalog
        self.found: dict[str, Place | None] = {}
        patterns = catalog.config_resolver._dataset_patterns if hasattr(catalog, "config_resolver") else {}
        self._patterns = [(parse.compile(pattern, case_sensitive=True), config) for pattern, config in patterns.items()]

    def __getitem__(self, name: str) -> Place | None:
        """The place of a dataset.

        Args:
            name: full name of the dataset.

        Returns:
            The place. None for datasets in memory.
        """
        if name not in self.found:
            self.found[name] = self._find(name)
        return self.found[name]

    def _find(self, name: str) -> Place | None:
        catalog = self._catalog
        config, values = self._config(name)
        if config is None:
            dataset = catalog._datasets.get(name)
            path, version = getattr(dataset, "_filepath", None), getattr(dataset, "_version", None)
            return None if path is None else Place(Path(path), version is not None, version.load if version else None)
        if "filepath" not in config:
            return None
        path = str(config["filepath"])
        options = {key: value for key, value in config.items() if key not in _NO_OPTIONS}
        return Place(
            Path(path.format_map(values) if values else path),
            bool(config.get("versioned")),
            catalog._load_versions.get(name),
            options,
        )

    def _config(self, name: str) -> tuple[Mapping[str, Any] | None, Mapping[str, str]]:
        """Configuration of a dataset, and the values of the placeholders in it; None if it was added without one."""
        if not hasattr(self._catalog, "config_resolver"):
            return None, {}
        config = self._catalog.config_resolver.config.get(name)
        if config is not None:
            return config, {}
        for pattern, of_pattern in self._patterns:
            match = pattern.parse(name)
            if match is not None:
                return of_pattern, match.named
        return None, {}
