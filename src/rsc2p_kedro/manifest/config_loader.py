"""Configuration that knows the manifest: the entries of recordings reach the parameters and the catalog.

Kedro's factory patterns know a dataset by its name alone. Where the raw frames lie, which files a user gives, and how
an NWB file must be named, only the manifest can tell. As this must hold for every command, runner and worker alike, it
is done where configuration is read, and not by a hook.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from yaml.constructor import ConstructorError

from rsc2p_kedro.core.parameters import did_you_mean
from rsc2p_kedro.manifest.checks import ManifestError
from rsc2p_kedro.nwb.identifiers import dandi_ids, dandi_path

FILES = ("path", "frame_times", "seeds", "curation")
"""Fields of a recording that name a file or a folder."""

MACHINE_PARAMETERS = ("caiman", "compute", "nwb")
"""Parameters that belong to the machine or the laboratory: those in conf/local hold under every environment, below what
the environment itself says."""

_FACT = re.compile(r"\{recording\.(\w+)\}")


def named_recordings(manifest: Any, root: Path) -> Any:
    """The manifest with the keys of animal and session written into each recording, and its paths below the root.

    Kedro runs from any folder of the project, while paths in the manifest are relative to its root.

    Args:
        manifest: {animal: {session: facts}}. Whatever is not two levels of mappings is returned as it is, for the
            manifest's own check to report.
        root: root of the project.

    Returns:
        The same mapping, with absolute paths.
    """
    return (
        {
            animal: {
                session: {**facts, **_paths(facts, root), "animal": animal, "session_key": session}
                if isinstance(facts, Mapping)
                else facts
                for session, facts in sessions.items()
            }
            if isinstance(sessions, Mapping)
            else sessions
            for animal, sessions in manifest.items()
        }
        if isinstance(manifest, Mapping)
        else manifest
    )


def _paths(recording: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Absolute paths of a recording's files."""
    named = {name: recording.get(name) for name in FILES}
    return {name: (root / path).as_posix() for name, path in named.items() if isinstance(path, str | Path)}


def select_recordings(manifest: Any, names: str | Iterable[str] | None) -> Any:
    """The part of a manifest that the parameter `only_recordings` asks for.

    Args:
        manifest: {animal: {session: facts}}.
        names: animals (`animal_1`) or recordings (`animal_1.day_7`), as a list or separated by spaces; None: all.

    Returns:
        The manifest with these alone, in its own order.

    Raises:
        ManifestError: a name is that of no animal and no recording.
    """
    if not names or not isinstance(manifest, Mapping):
        return manifest
    wanted = set(names.replace(",", " ").split() if isinstance(names, str) else map(str, names))
    full = {animal: [f"{animal}.{session}" for session, _ in _items(sessions)] for animal, sessions in manifest.items()}
    known = {*full, *(name for sessions in full.values() for name in sessions)}
    if wanted - known:
        raise ManifestError(
            "\n".join(f"There is no {name}.{did_you_mean(name, known)}" for name in sorted(wanted - known))
        )
    return {
        animal: {
            session: facts for session, facts in _items(sessions) if animal in wanted or f"{animal}.{session}" in wanted
        }
        for animal, sessions in manifest.items()
        if animal in wanted or wanted & set(full[animal])
    }


def _facts(animal: str, session: str, recording: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """What catalog entries may ask of a recording, as `{recording.<name>}`."""
    subject_id, session_id = dandi_ids(animal, session, recording)
    return {
        **{name: recording.get(name) for name in FILES},
        "path": str(recording.get("path", "")),
        "frames": recording.get("frames"),
        "frame_rate_hz": recording.get("frame_rate_hz"),
        "dandi_path": dandi_path(subject_id, session_id),
        **shared,
    }


def _filled(value: Any, names: dict[str, str], facts: dict[str, Any]) -> Any:
    """A catalog entry with the names and facts of one recording in the place of the placeholders."""
    if isinstance(value, Mapping):
        return {key: _filled(part, names, facts) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, names, facts) for part in value]
    if not isinstance(value, str):
        return value
    whole = _FACT.fullmatch(value)
    if whole:
        return facts[whole[1]]
    text = _FACT.sub(lambda match: str(facts[match[1]]), value)
    for name, key in names.items():
        text = text.replace("{" + name + "}", key)
    return text


def expanded_catalog(catalog: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog with every pattern that asks for facts of a recording turned into one entry per recording.

    Args:
        catalog: entries and patterns. `{recording.NAME}` in a pattern stands for a fact of the recording.
        parameters: with the manifest under `recordings`. Recordings that are not mappings are passed over, for the
            manifest's own check to report.

    Returns:
        The catalog. Other patterns stay factory patterns. An entry whose file a recording does not have (no `seeds:`,
        say) is left out for that recording.
    """
    asking = {name: entry for name, entry in catalog.items() if _FACT.search(str(entry))}
    expanded = {name: entry for name, entry in catalog.items() if name not in asking}
    compute = {"threads": None, "show_progress": True} | dict(parameters.get("compute") or {})
    shared = {
        "on_issue": (parameters.get("nwb") or {}).get("on_issue", "error"),
        "threads": compute["threads"],
        "show_progress": compute["show_progress"],
    }
    for animal, sessions in _items(parameters.get("recordings")):
        for session, recording in _items(sessions):
            if not isinstance(recording, Mapping):
                continue
            names, facts = {"animal": animal, "session": session}, _facts(animal, session, recording, shared)
            for name, entry in asking.items():
                filled = _filled(entry, names, facts)
                if filled.get("filepath", "") is not None:
                    expanded[_filled(name, names, facts)] = filled
    return expanded


def _items(level: Any) -> Iterable[tuple[str, Any]]:
    """Keys and values of a level of the manifest; none where it is not a mapping."""
    return level.items() if isinstance(level, Mapping) else ()


def _where_not_yaml(conf: Path, error: ConstructorError) -> str:
    """What is wrong in a file that cannot be constructed, most often a key that it has twice; Kedro names no file."""
    for path in sorted(conf.rglob("*.yml")):
        try:
            OmegaConf.load(path)
        except ConstructorError as found:
            line = found.problem_mark.line + 1 if found.problem_mark else 1
            return (
                f"{path}, line {line}: {found.problem}. Each key may be there once: write all it holds below the first."
            )
    return str(error)


class ManifestConfigLoader(OmegaConfigLoader):
    """Kedro's configuration, with the manifest of recordings worked into parameters and catalog.

    Parameters and catalog are read once; make another loader to read changed files.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read: dict[str, dict[str, Any]] = {}
        super().__init__(*args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Configuration of one kind.

        Args:
            key: `parameters`, `catalog`, or another kind that Kedro knows.

        Returns:
            The merged configuration of base, environment and, for what belongs to the machine, conf/local.

        Raises:
            ValueError: a file is no valid YAML or has a key twice; the message names file and line.
            MissingConfigException: there is no such configuration.
        """
        if key in self._read:
            return self._read[key]
        try:
            config = super().__getitem__(key)
        except ConstructorError as error:
            raise ValueError(_where_not_yaml(Path(self.conf_source), error)) from error
        if key == "parameters" and "recordings" in config:
            recordings = select_recordings(config["recordings"], config.get("only_recordings"))
            config = {**config, "recordings": named_recordings(recordings, self.root)}
        elif key == "catalog":
            config = expanded_catalog(config, self["parameters"])
        if key in ("parameters", "catalog"):
            self._read[key] = config
        return config

    @property
    def run_env(self) -> str:
        """The environment that is laid over base."""
        return self.env or self.default_run_env

    @property
    def root(self) -> Path:
        """The folder that relative paths of the manifest start from: that of `conf`, or the present one if packed."""
        source = Path(self.conf_source).resolve()
        return source.parent if source.is_dir() else Path.cwd()

    def _read_raw_config(self, key: str) -> Any:
        """Files of base and of the environment, with what conf/local says of the machine put below the latter."""
        base, own, base_path, env_path, processed = super()._read_raw_config(key)
        if key != "parameters" or self.run_env in (self.default_run_env, self.base_env):
            return base, own, base_path, env_path, processed
        folder = self._get_conf_env_path(self.default_run_env)
        try:
            local = self._read_dir_configs(folder, [*self.config_patterns[key]], key, processed, False)
        except MissingConfigException:  # no such folder, as where the project was packaged
            return base, own, base_path, env_path, processed
        for name in MACHINE_PARAMETERS:
            layers = [config.pop(name) for configs in (local, own) for config in configs.values() if name in config]
            if layers:
                own[Path(folder) / f"parameters_{name} (merged)"] = OmegaConf.create({name: OmegaConf.merge(*layers)})
        return base, own, base_path, env_path, processed
