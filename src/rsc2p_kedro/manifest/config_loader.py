"""Configuration loader that enters the recordings of the manifest into the parameters and the catalog.

Kedro's factory patterns derive a dataset from its name. The path of the raw frames, the files that a user provides and
the name of the NWB file, however, are in the manifest. They are entered where configuration is read, not by a hook, so
that every command, runner and worker process uses them.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from omegaconf import OmegaConf

from rsc2p_kedro.core.parameters import did_you_mean
from rsc2p_kedro.manifest.checks import ManifestError
from rsc2p_kedro.manifest.configuration_files import READING_ERRORS, explain_reading_error
from rsc2p_kedro.manifest.defaults import defaults_problems, with_defaults
from rsc2p_kedro.manifest.recordings import of_plane
from rsc2p_kedro.nwb.identifiers import dandi_ids, dandi_path

FILES = ("path", "frame_times", "seeds", "curation", "tracking_decisions", "tracking_known")
"""Fields of a recording that name a file or a folder."""

MACHINE_PARAMETERS = ("caiman", "compute", "nwb")
"""Parameters of the machine or the laboratory: those in conf/local apply to every environment, unless the environment
itself sets them."""

OF_ENVIRONMENT = "{of_environment}"
"""Placeholder in catalog entries of tables and pages over all recordings, which each environment has for itself."""

_PLACEHOLDER = re.compile(r"\{recording\.(\w+)\}")


def named_recordings(manifest: Any, root: Path) -> Any:
    """Adds the keys of animal and session to the entry of each recording, and makes its paths absolute.

    Kedro may be started in any folder of the project, while paths in the manifest are relative to its root.

    Args:
        manifest: {animal: {session: entry}}. Values that are not mappings are returned unchanged; the check of the
            manifest reports them.
        root: root folder of the project.

    Returns:
        The same mapping, with absolute paths.
    """
    return (
        {
            animal: {
                session: {**entry, **_paths(entry, root), "animal": animal, "session_key": session}
                if isinstance(entry, Mapping)
                else entry
                for session, entry in sessions.items()
            }
            if isinstance(sessions, Mapping)
            else sessions
            for animal, sessions in manifest.items()
        }
        if isinstance(manifest, Mapping)
        else manifest
    )


def plane_entries(manifest: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Expands the entries of recordings with several planes to one entry for each plane.

    Args:
        manifest: {animal: {session: entry}}.

    Returns:
        {animal: {session: {plane_1: entry, plane_2: entry}}}, for recordings of more than one plane only. Each entry is
        that of the session with the number of its `plane`, which replaces `{plane}` in the paths of its files.
    """
    expanded: dict[str, dict[str, dict[str, Any]]] = {}
    for animal, sessions in _items(manifest):
        for session, entry in _items(sessions):
            n_planes = entry.get("planes") if isinstance(entry, Mapping) else None
            if isinstance(n_planes, int) and n_planes > 1:
                of_planes = {f"plane_{k}": {**entry, **of_plane(entry, k)} for k in range(1, n_planes + 1)}
                expanded.setdefault(animal, {})[session] = of_planes
    return expanded


def _unit_names(manifest: Any) -> list[str]:
    """Names of all recordings, or of their planes where they have several."""
    planes = plane_entries(manifest)
    return [
        f"{animal}.{session}{plane}"
        for animal, sessions in _items(manifest)
        for session, _ in _items(sessions)
        for plane in ([f".{key}" for key in planes.get(animal, {}).get(session, ())] or [""])
    ]


def _paths(recording: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Absolute paths of a recording's files."""
    named = {name: recording.get(name) for name in FILES} | {"exclude_frames": _exclusion_table(recording)}
    return {name: (root / path).as_posix() for name, path in named.items() if isinstance(path, str | Path)}


def _exclusion_table(recording: Mapping[str, Any]) -> str | None:
    """The table that `exclude_frames` of a recording names, if it is neither a word nor a list."""
    wanted = recording.get("exclude_frames")
    return wanted if isinstance(wanted, str) and wanted.lower().endswith(".csv") else None


def select_recordings(manifest: Any, names: str | Iterable[str] | None) -> Any:
    """Selects the recordings that the parameter `only_recordings` names.

    Args:
        manifest: {animal: {session: entry}}.
        names: animals (`animal_1`) or recordings (`animal_1.day_7`), as a list or separated by spaces. None selects
            all.

    Returns:
        The manifest with these recordings only, in its order.

    Raises:
        ManifestError: a name is neither an animal nor a recording.
    """
    if not names or not isinstance(manifest, Mapping):
        return manifest
    wanted = set(names.replace(",", " ").split() if isinstance(names, str) else map(str, names))
    full = {animal: [f"{animal}.{session}" for session, _ in _items(sessions)] for animal, sessions in manifest.items()}
    known = {*full, *(name for sessions in full.values() for name in sessions)}
    if wanted - known:
        unknown = sorted(wanted - known)
        raise ManifestError(
            "\n".join(f"There is no animal or recording {name}.{did_you_mean(name, known)}" for name in unknown)
        )
    return {
        animal: {
            session: entry for session, entry in _items(sessions) if animal in wanted or f"{animal}.{session}" in wanted
        }
        for animal, sessions in manifest.items()
        if animal in wanted or wanted & set(full[animal])
    }


def _named_only(entries: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Entries of some recordings, {animal: {session: entry}}."""
    wanted: dict[str, Any] = {}
    for animal, session in (name.split(".") for name in names):
        if session in entries.get(animal, {}):
            wanted.setdefault(animal, {})[session] = entries[animal][session]
    return wanted


def _placeholders(animal: str, session: str, recording: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Values of the placeholders `{recording.<name>}` in catalog entries."""
    subject_id, session_id = dandi_ids(animal, session, recording)
    channels = recording.get("channels")
    return {
        **{name: recording.get(name) for name in FILES},
        "path": str(recording.get("path", "")),
        "frames": recording.get("frames"),
        "exclusion_table": _exclusion_table(recording),
        "files": recording.get("files"),
        "exclude": recording.get("exclude"),
        "channels": channels.get("n") if isinstance(channels, Mapping) else channels,
        "planes": recording.get("planes"),
        "flyback_frames": recording.get("flyback_frames"),
        "dataset": recording.get("dataset"),
        "axes": recording.get("axes"),
        "frame_rate_hz": recording.get("frame_rate_hz"),
        "dandi_path": dandi_path(subject_id, session_id),
        **shared,
    }


def _fill(value: Any, names: dict[str, str], values: dict[str, Any]) -> Any:
    """Replaces the placeholders in a catalog entry by the keys and values of one recording."""
    if isinstance(value, Mapping):
        return {key: _fill(part, names, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, names, values) for part in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole:
        return values[whole[1]]
    text = _PLACEHOLDER.sub(lambda match: str(values[match[1]]), value)
    for name, key in names.items():
        text = text.replace("{" + name + "}", key)
    return text


def expanded_catalog(catalog: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Expands every pattern with placeholders `{recording.NAME}` to one catalog entry per recording and plane.

    Of recordings with several planes, the datasets of a plane have the pattern of the session's, with the plane below
    the session: `{animal}.{session}.movie` at `{animal}/{session}/movie.zarr` makes
    `{animal}.{session}.plane_{plane}.movie` at `{animal}/{session}/plane_{plane}/movie.zarr`.

    Args:
        catalog: entries and patterns.
        parameters: all parameters, with the manifest under `recordings` and the entries of planes under `units`.
            Recordings that are not mappings are skipped; the check of the manifest reports them.

    Returns:
        The catalog. Other patterns remain factory patterns. An entry for a file that a recording does not have (such as
        `seeds:`) is left out for that recording.
    """
    patterns = {name: entry for name, entry in catalog.items() if _PLACEHOLDER.search(str(entry))}
    expanded = {name: entry for name, entry in catalog.items() if name not in patterns}
    compute = {"threads": None, "show_progress": True} | dict(parameters.get("compute") or {})
    shared = {
        "on_issue": (parameters.get("nwb") or {}).get("on_issue", "error"),
        "threads": compute["threads"],
        "show_progress": compute["show_progress"],
    }
    units = parameters.get("units") or {}
    if units:
        expanded |= {
            _of_plane(name, "."): _of_plane(entry, "/") for name, entry in expanded.items() if name.startswith(_SESSION)
        }
    for animal, sessions in _items(parameters.get("recordings")):
        for session, recording in _items(sessions):
            if not isinstance(recording, Mapping):
                continue
            of_planes = units.get(animal, {}).get(session, {})
            for plane, unit in {"": recording, **of_planes}.items():
                values = _placeholders(animal, session, unit, shared)
                for name, entry in patterns.items():
                    inside = f"/{plane}" if plane else ""
                    filled = _fill(entry, {"animal": animal, "session": f"{session}{inside}"}, values)
                    if filled.get("filepath", "") is not None:
                        expanded[_fill(name, {"animal": animal, "session": _dotted(session, plane)}, values)] = filled
    return expanded


def _dotted(*levels: str) -> str:
    """Names of levels, joined by dots; empty ones are left out."""
    return ".".join(level for level in levels if level)


_SESSION = "{animal}.{session}."


def _of_plane(value: Any, separator: str) -> Any:
    """A catalog entry or its name with the plane below the session."""
    return _replaced(value, "{session}", f"{{session}}{separator}plane_{{plane}}")


def _replaced(value: Any, old: str, new: str) -> Any:
    """A catalog entry with a text replaced in all its values."""
    if isinstance(value, Mapping):
        return {key: _replaced(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, old, new) for part in value]
    return value.replace(old, new) if isinstance(value, str) else value


def _items(level: Any) -> Iterable[tuple[str, Any]]:
    """Keys and values of a level of the manifest; empty if it is not a mapping."""
    return level.items() if isinstance(level, Mapping) else ()


class ManifestConfigLoader(OmegaConfigLoader):
    """Kedro's configuration, with the recordings of the manifest entered into parameters and catalog.

    Parameters and catalog are read once; to read changed files, make another loader.

    Attributes:
        all_names: names of all recordings, whatever `only_recordings` selects; known once the parameters were read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read: dict[str, dict[str, Any]] = {}
        self.all_names: list[str] = []
        super().__init__(*args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Configuration of one kind.

        Args:
            key: `parameters`, `catalog`, or another kind that Kedro knows.

        Returns:
            The merged configuration of base, environment and, for `MACHINE_PARAMETERS`, conf/local.

        Raises:
            ConfigurationError: a file cannot be read; the message names file and line.
            MissingConfigException: there is no such configuration.
            ManifestError: `defaults` of the manifest cannot be meant so, or a recording does not exist.
        """
        if key in self._read:
            return self._read[key]
        try:
            config = self._read.get(f"unexpanded {key}") or super().__getitem__(key)
        except READING_ERRORS as error:
            names = {self.base_env, self.default_run_env, self.run_env}
            explained = explain_reading_error([Path(self._get_conf_env_path(name)) for name in names], error)
            if explained is None:
                raise
            raise explained from error
        if key == "parameters" and "recordings" in config:
            problems = defaults_problems(config["recordings"])
            if problems:
                raise ManifestError.listing({"": problems})
            everything = with_defaults(config["recordings"])
            self.all_names = _unit_names(everything)
            recordings = select_recordings(everything, config.get("only_recordings"))
            named = named_recordings(recordings, self.root)
            units = plane_entries(named)
            config = {**config, "recordings": named, **({"units": units} if units else {})}
        elif key == "catalog":
            self._read["unexpanded catalog"] = config
            config = expanded_catalog(_replaced(config, OF_ENVIRONMENT, self._suffix), self["parameters"])
        if key in ("parameters", "catalog"):
            self._read[key] = config
        return config

    def only(self, names: Iterable[str], **compute: Any) -> "ManifestConfigLoader":
        """The same configuration for some recordings, without reading any file again.

        Args:
            names: of the recordings, such as `animal_1.day_7`.
            **compute: values that replace those of the parameters `compute`.

        Returns:
            Another loader.
        """
        names, parameters = [*names], self["parameters"]
        selected = {key: _named_only(parameters[key], names) for key in ("recordings", "units") if parameters.get(key)}
        other = copy.copy(self)
        other._read = {name: value for name, value in self._read.items() if name.startswith("unexpanded ")}
        other._read["parameters"] = {
            **parameters,
            **selected,
            "only_recordings": names,
            "compute": {**(parameters.get("compute") or {}), **compute},
        }
        return other

    def identity(self) -> str:
        """Tells configurations apart.

        Returns:
            A hash of all parameters.
        """
        text = json.dumps(self["parameters"], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def run_env(self) -> str:
        """The environment that overrides base."""
        return self.env or self.default_run_env

    @property
    def _suffix(self) -> str:
        """Ending of the names of files that the environment has for itself; empty for conf/local."""
        return "" if self.run_env in (self.default_run_env, self.base_env) else f"_{self.run_env}"

    @property
    def root(self) -> Path:
        """Folder that paths of the manifest are relative to: the parent of `conf`, or the present one if packaged."""
        source = Path(self.conf_source).resolve()
        return source.parent if source.is_dir() else Path.cwd()

    def _read_raw_config(self, key: str) -> Any:
        """Files of base and of the environment; for `MACHINE_PARAMETERS`, the environment overrides conf/local."""
        base, own, base_path, env_path, processed = super()._read_raw_config(key)
        if key != "parameters" or self.run_env in (self.default_run_env, self.base_env):
            return base, own, base_path, env_path, processed
        folder = self._get_conf_env_path(self.default_run_env)
        try:
            local = self._read_dir_configs(folder, [*self.config_patterns[key]], key, processed, False)
        except MissingConfigException:  # a packaged project has no such folder
            return base, own, base_path, env_path, processed
        for name in MACHINE_PARAMETERS:
            layers = [config.pop(name) for configs in (local, own) for config in configs.values() if name in config]
            if layers:
                own[Path(folder) / f"parameters_{name} (merged)"] = OmegaConf.create({name: OmegaConf.merge(*layers)})
        return base, own, base_path, env_path, processed


def running_config_loader() -> ManifestConfigLoader | None:
    """Configuration of the session that was started last in this process, which a hook of the project keeps.

    Returns:
        Its loader; None before the first session.
    """
    loaders = [getattr(hook, "config_loader", None) for hook in settings.HOOKS]
    return next((loader for loader in loaders if isinstance(loader, ManifestConfigLoader)), None)
