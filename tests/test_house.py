"""House rules: short files and functions, independent test modules, and a well-formed changelog."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from .helpers import ROOT

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_LINE_LENGTH = 300, 50, 120
FILES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("file", sorted((ROOT / "src").rglob("*.js")), ids=lambda file: file.name)
def test_no_script_is_long(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_FILE_LINES
    assert not [line for line in lines if len(line) > MAX_LINE_LENGTH]  # ruff checks those of Python


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT / "src").as_posix())
def test_no_file_and_no_function_is_long(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= MAX_FUNCTION_LINES, node.name


def test_no_test_module_imports_from_another() -> None:
    for file in (ROOT / "tests").rglob("*.py"):
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {name for node in imports for name in (node.module or "", *(alias.name for alias in node.names))}
        assert not [name for name in names if re.search(r"(^|\.)test_", name)], file


def test_the_changelog_has_the_right_format_and_version() -> None:
    """The format of Keep a Changelog: an Unreleased section, then the current version, and known kinds of change."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert len(versions) == text.count("\n## ")
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert all(re.search(r"^- ", part, re.MULTILINE) for part in text.split("\n### ")[1:])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert versions[1] == project["project"]["version"]
    assert f"\nversion: {versions[1]}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_development_packages_are_listed_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["dependency-groups"] == {"dev": ["digits[dev]"]}  # which is the list of the extra
