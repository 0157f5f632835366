"""Configuration that knows the manifest: what a recording says of itself reaches the parameters and the catalog.

Kedro's factory patterns know a dataset by its name alone, but where the raw frames lie, and what an NWB file must be
called, only the manifest can tell. So that it holds for every command, runner and worker alike, this is done where
configuration is read, and not by a hook.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from yaml.constructor import ConstructorError

from rsc2p_kedro.nwb.identifiers import dandi_ids, dandi_path

_FACT = re.compile(r"\{recording\.(\w+)\}")


def named_recordings(manifest: Any, root: Path) -> Any:
    """The manifest with the keys of animal and session written into each recording, and its paths below the root.

    Kedro runs from any folder of the project; what a user writes is meant from its root. A manifest that is not two
    levels of mappings is returned as it is: checking it is not the work of this function.
    """
    if not isinstance(manifest, Mapping):
        return manifest
    return {
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


def _paths(recording: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Absolute paths of a recording's files."""
    named = {name: recording.get(name) for name in ("path", "frame_times", "seeds", "curation")}
    return {name: (root / path).as_posix() for name, path in named.items() if isinstance(path, str | Path)}


def _facts(animal: str, session: str, recording: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """What catalog entries may ask of a recording, as `{recording.<name>}`."""
    subject_id, session_id = dandi_ids(animal, session, recording)
    return {
        "path": str(recording.get("path", "")),
        "frames": recording.get("frames"),
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
    """The catalog with every pattern that asks for facts of a recording turned into one entry a recording.

    Other patterns stay factory patterns. Recordings that are not mappings are passed over, for the manifest's own check
    speaks of them.
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
            if isinstance(recording, Mapping):
                names, facts = {"animal": animal, "session": session}, _facts(animal, session, recording, shared)
                expanded |= {
                    _filled(name, names, facts): _filled(entry, names, facts) for name, entry in asking.items()
                }
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
    """Kedro's configuration, with the manifest of recordings worked into parameters and catalog."""

    latest: "ManifestConfigLoader | None" = None
    """The loader made last: that of the running session, for `register_pipelines`, which Kedro gives no context."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ManifestConfigLoader.latest = self

    def __getitem__(self, key: str) -> dict[str, Any]:
        try:
            config = super().__getitem__(key)
        except ConstructorError as error:
            raise ValueError(_where_not_yaml(Path(self.conf_source), error)) from error
        if key == "parameters" and "recordings" in config:
            root = Path(self.conf_source).resolve().parent
            return {**config, "recordings": named_recordings(config["recordings"], root)}
        if key == "catalog":
            return expanded_catalog(config, self["parameters"])
        return config
