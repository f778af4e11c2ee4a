"""Tests mirror the package, floors import downwards only, files and functions stay short."""

import ast

import pytest
from importlinter.cli import lint_imports

from tests.conftest import REPOSITORY

SOURCES = sorted((REPOSITORY / "lit_detseg").rglob("*.py"))
NOT_MIRRORED = {"distributed", "oracles", "e2e", "slurm"}


def test_floors(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert lint_imports() == 0, "A file imports from a floor above its own: see pyproject.toml."


def test_every_test_file_has_its_source_file():
    tests = REPOSITORY / "tests"
    for test in tests.glob("*/**/test_*.py"):
        relative = test.relative_to(tests)
        if relative.parts[0] in NOT_MIRRORED:
            continue
        name = relative.stem.removeprefix("test_").removesuffix("_shared")
        source = REPOSITORY / "lit_detseg" / relative.parent / f"{name}.py"
        assert source.exists(), f"{test} tests {source}, which does not exist: rename one of them."


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_and_functions_stay_short(source):
    text = source.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"
