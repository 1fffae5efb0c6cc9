"""Runs as pandas tables, and a single run as a notebook sees it."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import digits
from digits.errors import UserError
from digits.runs.rows import write_rows
from digits.runs.run import Run
from digits.sweeps.plan import write_plan
from digits.validation import resolve

from ..helpers import QUICK, TINY, composed, environment, finished


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two finished jobs, a failed one and an unfinished one."""
    for name, lr, accuracy in (("0", 0.1, 0.9), ("1", 0.01, 0.95), ("2", 10.0, None), ("3", 0.001, None)):
        run = Run(tmp_path / "sweep" / name)
        run.path.mkdir(parents=True)
        run.write_config(resolve(composed(*TINY, f"optimizer.lr={lr}", "tags=[mine]")))
        if accuracy:
            run.write_results(finished(val_accuracy=accuracy, test_accuracy=accuracy - 0.01, seed=0))
        elif name == "2":
            run.write_failure(ValueError("the loss is nan"))
    return tmp_path / "sweep"


def test_a_leaderboard_has_a_row_per_run_and_a_column_per_key(sweep: Path) -> None:
    table = digits.leaderboard(sweep)
    assert list(table.columns[:3]) == ["run", "status", "optimizer.lr"]
    assert list(table["optimizer.lr"]) == [0.01, 0.1, 10.0, 0.001]
    assert list(table["val_accuracy"][:2]) == [0.95, 0.9]
    assert table["test_accuracy"].isna().sum() == 2
    assert list(table["status"]) == ["finished", "finished", "failed: the loss is nan", "unfinished"]
    assert "val_accuracy" in digits.leaderboard(str(sweep / "0"), sweep / "1").columns  # single runs
    with pytest.raises(UserError, match="is a single run"):
        digits.leaderboard(sweep / "0")


def test_a_job_that_has_not_started_has_the_values_of_the_plan(sweep: Path) -> None:
    write_plan(sweep, [["model=mlp", f"optimizer.lr={lr}"] for lr in (0.1, 0.01, 10.0, 0.001, 0.5)])
    table = digits.leaderboard(sweep)
    assert table["status"].iloc[-1] == "missing"
    assert table["optimizer.lr"].iloc[-1] == 0.5


def test_runs_are_found_in_several_folders(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Run(sweep.parent / "outputs/a")
    other.path.mkdir(parents=True)
    other.write_config(resolve(composed(*TINY, "optimizer.lr=0.5", "seed=3")))
    monkeypatch.chdir(sweep.parent)
    table = digits.find_runs("outputs", sweep)
    assert len(table) == 5
    assert {"run", "time", "status", "optimizer.lr", "seed", "tags", "test_accuracy"} <= set(table.columns)
    assert len(digits.find_runs(sweep, tag="mine")) == 4
    assert digits.find_runs()["run"].tolist() == ["outputs/a"]
    empty = digits.find_runs(sweep, tag="nothing")
    assert isinstance(empty, pd.DataFrame)
    assert list(empty.columns) == ["run", "status"]
    with pytest.raises(UserError, match="the folder gone does not exist"):
        digits.find_runs("gone")


def test_config_results_and_metrics_of_a_run(sweep: Path) -> None:
    run = digits.Run(str(sweep / "0"))
    write_rows(run.metrics_file, [{"epoch": 0, "val/accuracy": 0.5}, {"epoch": 1, "val/accuracy": 0.75, "lr": 0.1}])
    assert run.config is not None
    assert run.config.optimizer.lr == run.config["optimizer"]["lr"] == 0.1
    assert run.results is not None
    assert run.results.test_accuracy == pytest.approx(0.89)
    assert run.metrics.loc[1, "val/accuracy"] == 0.75
    assert run.metrics["lr"].isna().tolist() == [True, False]
    empty = digits.Run(sweep / "new")
    assert (empty.config, empty.results, len(empty.metrics)) == (None, None, 0)


def test_typical_mistakes_in_notebooks_are_explained() -> None:
    with pytest.raises(UserError, match=r"compose\(\*overrides\)"):
        digits.compose(["data=sample"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown key optimizer.lrr"):
        digits.compose("optimizer.lrr=1")
    assert repr(digits.Run("outputs/first")) == "Run('outputs/first')"


def test_importing_digits_is_fast() -> None:
    """Less than 0.1 s, and without torch and pandas; the fastest of five counts, since the machine may be busy."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True, env=environment())
        between = time.perf_counter()
        program = "import digits, sys; assert not {'torch', 'pandas', 'hydra'} & sys.modules.keys()"
        subprocess.run([sys.executable, "-c", program], check=True, env=environment())
        seconds.append(time.perf_counter() - between - (between - started))
    assert min(seconds) < 0.1


SCRIPT = """
import multiprocessing, pathlib, signal, sys
import digits

def train(folder):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    results = digits.train(digits.compose(*sys.argv[2:]), folder)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return results.test_accuracy

if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    here = train(root / "here")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(train, (root / "there",))
    assert here == there, (here, there)
    print(digits.leaderboard(root / "here", root / "there")["test_accuracy"].nunique())
"""


@pytest.mark.slow
def test_a_script_and_its_spawned_process_train_alike(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, "script.py", str(tmp_path), *QUICK, "trainer.max_epochs=1"]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1"
