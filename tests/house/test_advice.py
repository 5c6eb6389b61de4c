"""An error says what to do: each that is made with a message is made with advice as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pbs import errors

TOP = Path(__file__).parents[2]
NAMES = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PbsError)
}
# The demo speaks to whoever develops this; everything else to whoever runs it.
MODULES = sorted(path for path in (TOP / "pbs").rglob("*.py") if "demo" not in path.parts)


def without_advice(source: str) -> list[str]:
    """The errors of a module that leave a person alone."""
    return [
        f"{node.lineno}: {ast.unparse(node)[:120]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES
        and not any(keyword.arg == "hint" for keyword in node.keywords)
        and (len(node.args) < 2 or (isinstance(node.args[1], ast.Constant) and not node.args[1].value))
    ]  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_error_says_what_to_do(path: Path) -> None:
    """No error is raised without a hint."""
    assert without_advice(path.read_text()) == []


def test_an_error_without_advice_is_found() -> None:
    """The check fails where it must."""
    assert without_advice("raise ToolError('x')\n")
    assert without_advice("raise ToolError('x', None)\n")
    assert not without_advice("raise ToolError('x', 'do y')\n")
