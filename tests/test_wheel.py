"""Installed from a wheel, digits does the same in any folder as in the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import QUICK, ROOT, TRAIN, results_of, run, run_cold


@pytest.mark.slow
def test_the_wheel_trains_as_the_checkout_does(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = tmp_path.glob("digits-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "installed"), str(wheel)], check=True)
    one_thread = {"OMP_NUM_THREADS": "1"}  # for both trainings: the order of sums depends on the number of threads
    environment = {"PYTHONPATH": str(tmp_path / "installed"), **one_thread}
    where = run_cold("-c", "import digits; print(digits.__file__)", cwd=tmp_path, **environment)
    assert where.stdout.strip() == str(tmp_path / "installed/digits/__init__.py")

    shown = run_cold("-m", "digits", "train", "--cfg", "job", "--resolve", cwd=tmp_path, **environment)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == run_cold(TRAIN, "--cfg", "job", "--resolve", cwd=tmp_path).stdout

    command = tmp_path / "installed/bin/digits"
    assert os.access(command, os.X_OK)
    words = [*QUICK, "trainer.max_epochs=1"]
    trained = run_cold(str(command), "train", *words, "hydra.run.dir=installed-run", cwd=tmp_path, **environment)
    assert trained.returncode == 0, trained.stderr
    assert run(TRAIN, *words, "hydra.run.dir=checkout-run", cwd=tmp_path, **one_thread).returncode == 0
    from_wheel, from_checkout = results_of(tmp_path / "installed-run"), results_of(tmp_path / "checkout-run")
    assert from_wheel["git"] is None
    for name in ("test_accuracy", "test_loss", "val_loss", "dataset", "steps"):
        assert from_wheel[name] == from_checkout[name]
