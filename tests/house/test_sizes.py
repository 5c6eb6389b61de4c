"""No file and no function becomes the product; every module and every public name says what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MODULES = sorted([*(TOP / "pbs").rglob("*.py"), *(TOP / "agent").rglob("*.py")])
MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 12
MOST_PUBLIC_METHODS = 20


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    return (
        (node.end_lineno or node.lineno) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
    )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_file_stays_small(path: Path) -> None:
    """No module has more than 400 lines, no function more than 60."""
    assert len(path.read_text().splitlines()) <= MOST_FILE_LINES
    long = [f"{node.name}: {length(node)}" for node in functions(path) if length(node) > MOST_FUNCTION_LINES]
    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """Every module opens with a docstring, and so does every public function and class."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_functions_are_short_in_the_middle() -> None:
    """The median function is short."""
    lengths = sorted(length(node) for path in MODULES for node in functions(path))
    assert lengths[len(lengths) // 2] <= MEDIAN_FUNCTION_LINES


def public_methods(node: ast.ClassDef) -> int:
    """Public methods that do something; a property only names a value."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return sum(
        not each.name.startswith("_")
        and not any(ast.unparse(mark) == "property" for mark in each.decorator_list)
        for each in methods
    )


def test_no_class_becomes_the_product() -> None:
    """A class with many public methods is a room that is missing."""
    wide = [
        (path.name, node.name, public_methods(node))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and public_methods(node) > MOST_PUBLIC_METHODS
    ]
    assert [] == wide
