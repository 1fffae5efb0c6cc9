"""A benchmark runs; its figures are not checked here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import ROOT


@pytest.mark.slow
@pytest.mark.mnist
def test_the_benchmark_of_the_loader_runs(mnist_root: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "loader.py"), "--quick"]
    environment = {**os.environ, "MNIST_ROOT": str(mnist_root)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "written to outputs/benchmarks/loader.json" in process.stdout
