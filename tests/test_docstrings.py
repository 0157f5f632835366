"""Public functions say what they take, give back and raise, and functions fit on one screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "rsc2p_kedro"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
INTERFACE_OF_OTHERS = {"load", "save", "preview", "seek", "tell", "close", "read", "write", "truncate", "readinto"}
"""Methods that Kedro's datasets and Python's files define, and document."""
LONGEST_BODY = 50
"""Lines of a body without its docstring, comments and blank lines: one screen."""


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str, bool]]:
    """Functions and methods of a module, the class they are in, and whether all of it is public."""
    todo: list[tuple[ast.stmt, str, bool]] = [(node, "", True) for node in tree.body]
    for node, owner, public in todo:
        if isinstance(node, ast.ClassDef):
            todo += [(inner, node.name, public and node.name[0] != "_") for inner in node.body]
        elif isinstance(node, ast.FunctionDef):
            yield node, owner, public and node.name[0] != "_"


def documented_arguments(docstring: str) -> set[str]:
    """Names that the section Args explains; `a, b: ...` explains two."""
    lines = docstring.partition("Args:")[2].splitlines()
    heads = [line.strip().partition(":")[0] for line in lines if ":" in line]
    return {name.strip(" *`") for head in heads for name in head.split(",")}


def raises(function: ast.FunctionDef) -> bool:
    """Whether a function itself, not one within it, raises a new exception."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False


def missing(function: ast.FunctionDef, owner: str) -> list[str]:
    """What the docstring of a public function lacks."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    if any(".command" in text or ".group" in text for text in decorators):
        return []  # its docstring is what `--help` shows
    if owner and function.name in INTERFACE_OF_OTHERS:
        return []
    docstring = ast.get_docstring(function)
    if not docstring:
        return ["a docstring"]
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names = names[1:] if owner and names[:1] in (["self"], ["cls"]) else names
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None]
    lacking = [f"argument {name}" for name in names if name not in documented_arguments(docstring)]
    returned = ast.unparse(function.returns) if function.returns else "None"
    gives = returned not in ("None", "NoReturn") and not any("property" in text for text in decorators)
    if gives and not {"Returns:", "Yields:"} & set(docstring.split()):
        lacking.append("Returns")
    if raises(function) and "Raises:" not in docstring:
        lacking.append("Raises")
    return lacking


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_are_documented_and_functions_fit_on_one_screen(module: str) -> None:
    text = (PACKAGE / module).read_text(encoding="utf-8")
    lines, problems = text.splitlines(), []
    for function, owner, public in functions(ast.parse(text)):
        place = f"{module}:{function.lineno} {function.name}"
        lacking = missing(function, owner) if public else []
        problems += [f"{place} lacks {', '.join(lacking)}"] if lacking else []
        first = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
        body = [line.strip() for line in lines[first[0].lineno - 1 : function.end_lineno]]
        length = sum(bool(line) and line[0] != "#" for line in body)
        problems += [f"{place} has {length} lines"] if length > LONGEST_BODY else []
    assert not problems, "\n".join(problems)


def test_what_is_missing_is_seen() -> None:
    source = """
def area(mask, *, scale):
    \"\"\"Area.

    Args:
        mask: of the cell.
    \"\"\"
    if scale < 0:
        raise ValueError
"""
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert missing(function, "") == ["argument scale", "Raises"]
    function.returns = ast.Name("float")
    assert missing(function, "") == ["argument scale", "Returns", "Raises"]
