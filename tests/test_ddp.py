"""Two processes on the CPU: the same training, one run directory, written by the first."""

from pathlib import Path

import pytest

from digits.run import Run

from .conftest import RUN_FILES, run, run_python
from .test_main import QUICK

TWO = ["trainer.devices=2", "data.batch_size=10", "trainer.max_epochs=1"]


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
