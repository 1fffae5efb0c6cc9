"""The harness that cuts trainings off, a smaller share of what `make test-faults` does."""

import json
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT, run_python


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="trainings are forked")
def test_nothing_is_lost(tmp_path: Path) -> None:
    done = run_python("-W", "ignore", "-m", "tests.faults.harness", "12", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["cuts"] == figures["survived"] >= 60
    assert len(figures["kinds"]) == 5
    assert not figures["losses"]
