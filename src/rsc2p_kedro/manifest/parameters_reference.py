"""Generates the reference of parameters from the models that validate them; ``make parameters`` runs this module.

Each parameter is described once, in the models of :mod:`rsc2p_kedro.core.parameters`. The files
`conf/base/parameters_<stage>.yml` and the page `docs/parameters.md` are generated from these descriptions.
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, Cluster, Compute, FrozenModel
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.simulation.settings import SimulationSettings

MODELS: dict[str, type[FrozenModel]] = {**STAGE_PARAMETERS, "compute": Compute, "caiman": CaimanSettings}
_GENERATED = "Generated from the models by `make parameters`"


def yaml_of(stage: str) -> str:
    """Text of the file `conf/base/parameters_<stage>.yml`.

    Args:
        stage: A key of `MODELS`.

    Returns:
        YAML: every parameter of the model with its default, below its description as a comment.
    """
    model = MODELS[stage]
    lines = _comment(f"{_first_line(model)} {_GENERATED}: override values in conf/local, or per recording.", "")
    lines.append(f"{stage}:")
    for name, field in model.model_fields.items():
        lines += _comment(field.description or "", "  ")
        lines.append(f"  {name}: {_scalar(field.default)}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Text of the page `docs/parameters.md`.

    Returns:
        Markdown: one section for each model, with a table of its parameters, their defaults and their descriptions.
    """
    parts = [
        "# Parameters",
        "",
        f"{_GENERATED}. Names in brackets are CaImAn's. Values are set in `conf/local/parameters_<stage>.yml`, for one "
        "recording under `parameters:` in its entry of the manifest, or for one run with "
        "`kedro run --params <stage>.<name>=<value>`.",
    ]
    models: dict[str, type[FrozenModel]] = {
        **MODELS,
        "compute.cluster": Cluster,
        "recordings.<animal>.<session>": Recording,
        "simulation": SimulationSettings,
    }
    for title, model in models.items():
        parts += ["", f"## `{title}`", "", _first_line(model), "", "| parameter | default | meaning |", "|---|---|---|"]
        parts += [
            f"| `{name}` | {_default(field)} | {_cell(field.description or '')} |"
            for name, field in model.model_fields.items()
            if name not in {"animal", "session_key", "plane"}
        ]
    return "\n".join(parts) + "\n"


def _first_line(model: type[FrozenModel]) -> str:
    """Summary line of the model's docstring."""
    return (model.__doc__ or "").strip().splitlines()[0]


def _comment(text: str, indent: str) -> list[str]:
    """A text as comment lines of YAML, at most 120 characters wide."""
    return [f"{indent}# {line}" for line in textwrap.wrap(text, 118 - len(indent))]


def _scalar(value: Any) -> str:
    """A value in the flow style of YAML."""
    value = value.model_dump() if isinstance(value, FrozenModel) else list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _default(field: Any) -> str:
    """The default of a field as Markdown."""
    if field.is_required():
        return "required"
    return "`null`" if field.default is None or field.default_factory else f"`{_scalar(field.default)}`"


def _cell(text: str) -> str:
    """A text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def main(root: Path) -> None:
    """Writes all files of the reference.

    Args:
        root: Root folder of the project.
    """
    for stage in MODELS:
        (root / "conf" / "base" / f"parameters_{stage}.yml").write_text(yaml_of(stage), encoding="utf-8")
    (root / "docs" / "parameters.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
