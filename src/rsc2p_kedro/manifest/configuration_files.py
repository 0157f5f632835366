"""What is wrong with a configuration file, by file and line: Kedro and OmegaConf name one or neither."""

from collections.abc import Iterable
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

READING_ERRORS = (yaml.YAMLError, OmegaConfBaseException, UnicodeError, OSError, AssertionError, AttributeError)
"""What Kedro and OmegaConf raise for a file that they cannot read."""


class ConfigurationError(ValueError):
    """A file of the configuration cannot be read. The message names the file, the place and what to do."""


def explain_reading_error(folders: Iterable[Path], error: Exception) -> ConfigurationError | None:
    """Finds the file that an error is about.

    Args:
        folders: of the environments that were read.
        error: that was raised while their files were read.

    Returns:
        An error that names the file, the line and what to do; None where no file is at fault.
    """
    paths = sorted({path for folder in folders for end in ("yml", "yaml", "json") for path in folder.rglob(f"*.{end}")})
    for path in paths:
        problem = file_problem(path)
        if problem:
            return ConfigurationError(f"{path}{problem}")
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        return ConfigurationError(_interpolation_problem(paths, error))
    return None


def file_problem(path: Path) -> str:
    """Says why a file of the configuration cannot be read by itself.

    Args:
        path: of a YAML file.

    Returns:
        The line and the problem, to follow the path of the file; "" if there is none.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return f", line {line}: the file is not in UTF-8. Save it in this encoding."
    try:
        content = OmegaConf.create(text) if text.strip() else OmegaConf.create({})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return f", line {mark.line + 1 if mark else 1}: {error.problem}. {_remedy(error, text)}"
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        return f": {str(error).splitlines()[0]}. Correct the YAML."
    if not isinstance(content, DictConfig):
        return " holds a list or a single value, but should map names to values, such as `recordings:`."
    return ""


def _remedy(error: yaml.MarkedYAMLError, text: str) -> str:
    """What to do about an error of YAML."""
    if "duplicate key" in str(error.problem):
        return "A key may occur only once: merge the contents of both."
    mark = error.problem_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "The line begins with a tab: indent with spaces."
    return "Correct the YAML: check indentation, quotes, brackets, and that a space follows each colon."


def _interpolation_problem(paths: Iterable[Path], error: OmegaConfBaseException) -> str:
    """Message for a value `${...}` that nothing defines, with the first line that may hold it."""
    key = str(error.full_key).rpartition(".")[2]
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "${" in line and (not key or key in line or line.strip().startswith("-")):
                return (
                    f"{path}, line {number}: {str(error).splitlines()[0]}. OmegaConf fills in ${{...}} by another "
                    "value; write the value itself, or \\${ for the characters."
                )
    return f"{error.full_key}: {str(error).splitlines()[0]}."
