"""Two processes on the CPU: the same training, one run directory, written by the first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from digits.run import Run

from .conftest import ROOT, RUN_FILES, run, run_python
from .test_main import QUICK
from .test_training import same

TWO = ["trainer.devices=2", "data.batch_size=10", "trainer.max_epochs=1"]
MANY_STEPS = [*QUICK[:-1], "trainer.limit_train_batches=100"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_train_what_one_trains(strategy: str, tmp_path: Path) -> None:
    """Same images in each step, so the same weights but for the order of sums."""
    one = [*QUICK, "model.head.dropout=0", "data.batch_size=20", "trainer.max_epochs=1", "hydra.run.dir=one"]
    assert run(*one, cwd=tmp_path).returncode == 0
    done = run(*QUICK, "model.head.dropout=0", *TWO, f"trainer.strategy={strategy}", "hydra.run.dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "strides" not in done.stderr  # which torch would say of gradients in another memory format than the weights'
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {*RUN_FILES, "train.log"}
    single, double = Run(tmp_path / "one").results(), Run(tmp_path / "two").results()
    assert single is not None
    assert double is not None
    assert double.steps == single.steps == 5
    assert sum(map(sum, double.confusion_matrix)) == 500  # every test image once
    assert double.test_loss == pytest.approx(single.test_loss, abs=1e-4)
    (row,), (double_row,) = (Run(tmp_path / name).read_metrics() for name in ("one", "two"))
    assert double_row["train/loss"] == pytest.approx(row["train/loss"], abs=1e-4)
    assert double_row["train/accuracy"] == pytest.approx(row["train/accuracy"], abs=1e-4)


@pytest.mark.slow
def test_the_installed_command_starts_its_second_process(tmp_path: Path) -> None:
    words = [*QUICK, *TWO, "trainer.strategy=ddp", "hydra.run.dir=here"]
    done = run_python("-m", "digits", "train", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "here").results() is not None


@pytest.mark.slow
def test_two_processes_cut_off_within_an_epoch_go_on_to_the_same_end(tmp_path: Path) -> None:
    """Killed, told to stop, and interrupted, as a shell does it: Ctrl-C goes to all processes."""
    words = [*MANY_STEPS, *TWO, "trainer.strategy=ddp", "callbacks.checkpoint.every_n_steps=1"]
    assert run(*words, "hydra.run.dir=whole", cwd=tmp_path).returncode == 0
    last = Run(tmp_path / "cut").last
    for number, to_all, expected in (
        (signal.SIGKILL, True, -signal.SIGKILL),
        (signal.SIGTERM, False, 143),
        (signal.SIGINT, True, 130),
    ):
        before = saved_at(last)
        process = subprocess.Popen(
            [sys.executable, ROOT / "train.py", *words, "hydra.run.dir=cut"], cwd=tmp_path, start_new_session=True
        )
        while saved_at(last) == before:
            assert process.poll() is None
            time.sleep(0.002)
        (os.killpg if to_all else os.kill)(process.pid, number)
        assert process.wait(60) == expected
        step = torch.load(last, weights_only=True)["global_step"]
        assert 0 < step < 100
    assert run(*words, "hydra.run.dir=cut", cwd=tmp_path).returncode == 0
    ends = [torch.load(Run(tmp_path / name).last, weights_only=True)["state_dict"] for name in ("whole", "cut")]
    assert same(*ends)
    (row,), (cut_row,) = (Run(tmp_path / name).read_metrics() for name in ("whole", "cut"))
    assert cut_row == pytest.approx(row, abs=1e-6)


def saved_at(last: Path) -> int:
    return last.stat().st_mtime_ns if last.exists() else 0
