"""Runs the harness that cuts trainings off, with one cut of each kind; `make test-faults` makes 50 of each."""

import json
import subprocess
import sys

import pytest

from ..helpers import ROOT


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="trainings are forked")
def test_trainings_that_are_cut_off_lose_nothing() -> None:
    words = [sys.executable, "-W", "ignore", "-m", "tests.faults.harness", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["cuts"] == figures["survived"] >= 6
    assert len(figures["kinds"]) == 6
    assert not figures["losses"]
