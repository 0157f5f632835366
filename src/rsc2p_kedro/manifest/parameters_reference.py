"""Writes what is said of parameters from the models that check them: run as a module, by `make parameters`.

One source, three places: the models in :mod:`rsc2p_kedro.core.parameters`, the files
`conf/base/parameters_<stage>.yml` that users edit, and the page `docs/parameters.md`.
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, Compute, FrozenModel
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.simulation.settings import SimulationSettings

MODELS: dict[str, type[FrozenModel]] = {**STAGE_PARAMETERS, "compute": Compute, "caiman": CaimanSettings}
_GENERATED = "Written from the models in rsc2p_kedro by `make parameters`"


def yaml_of(stage: str) -> str:
    """The file `conf/base/parameters_<stage>.yml`: every parameter with its default, under what it means."""
    model = MODELS[stage]
    lines = _comment(f"{_first_line(model)} {_GENERATED}: override values in conf/local, or per recording.", "")
    lines.append(f"{stage}:")
    for name, field in model.model_fields.items():
        lines += _comment(field.description or "", "  ")
        lines.append(f"  {name}: {_scalar(field.default)}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The page `docs/parameters.md`: a table a model."""
    parts = ["# Parameters", "", f"{_GENERATED}. CaImAn's names stand in brackets."]
    models: dict[str, type[FrozenModel]] = {
        **MODELS,
        "recordings.<animal>.<session>": Recording,
        "simulation": SimulationSettings,
    }
    for title, model in models.items():
        parts += ["", f"## `{title}`", "", _first_line(model), "", "| parameter | default | meaning |", "|---|---|---|"]
        parts += [
            f"| `{name}` | {_default(field)} | {_cell(field.description or '')} |"
            for name, field in model.model_fields.items()
            if name not in {"animal", "session_key"}
        ]
    return "\n".join(parts) + "\n"


def _first_line(model: type[FrozenModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, 118 - len(indent))]


def _scalar(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default is None or field.default_factory else f"`{_scalar(field.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(root: Path) -> None:
    """Writes all files below the root of the project."""
    for stage in MODELS:
        (root / "conf" / "base" / f"parameters_{stage}.yml").write_text(yaml_of(stage), encoding="utf-8")
    (root / "docs" / "parameters.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
