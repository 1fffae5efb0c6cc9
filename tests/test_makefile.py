"""The environment that make creates belongs to one folder."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .helpers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")]
FILES = ("Makefile", "pyproject.toml", "constraints.txt")


def planned(folder: Path, target: str) -> str:
    """The commands that make would run."""
    done = subprocess.run(["make", "-n", target], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A checkout with a complete environment."""
    folder = tmp_path / "checkout"
    (folder / ".venv").mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in (".installed", ".installed-dev"):
        (folder / ".venv" / name).write_text(f"{folder}\n")
    return folder


def test_a_complete_environment_is_not_installed_again(installed: Path) -> None:
    assert "pip install" not in planned(installed, "train")
    (installed / ".venv/.installed-dev").unlink()
    assert "pip install" in planned(installed, "test")
    assert "--clear" not in planned(installed, "test")  # keep what `make train` has installed


@pytest.mark.parametrize("target", ["train", "test"])
def test_a_checkout_that_was_moved_or_copied_installs_again(target: str, installed: Path) -> None:
    copy = installed.with_name("copy of it")
    shutil.copytree(installed, copy)
    assert "venv --clear .venv" in planned(copy, target)
    assert "pip install" in planned(copy, target)


def test_a_link_to_an_environment_is_not_replaced(installed: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (installed / ".venv").rename(shared)
    (installed / ".venv").symlink_to(shared)
    (shared / ".installed").write_text("/elsewhere\n")
    assert "venv" not in planned(installed, "train").replace(".venv/bin/python train.py", "")
    (shared / ".installed").unlink()
    assert "--clear" not in planned(installed, "train")
