"""The run directory: its files are written whole, one process claims it, and it has one configuration."""

import errno
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import pytest
import yaml

from digits.config import TrainConfig
from digits.data.download import obtain
from digits.errors import UserError
from digits.runs.differences import differences
from digits.runs.files import unfinished, write
from digits.runs.rows import write_rows
from digits.runs.run import Run
from digits.signals import Interrupted
from digits.sweeps.study import open_study
from digits.validation import resolve

from ..helpers import TINY, composed, finished


def cfg(*overrides: str) -> TrainConfig:
    return resolve(composed(*TINY, *overrides))


def test_the_configuration_is_written_complete_and_resolved(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with run.claim(cfg()):
        run.write_config(cfg())
        content = yaml.safe_load(run.config_file.read_text())
    assert content == asdict(cfg())
    assert content["optimizer"]["lr"] == 0.001
    assert Path(content["data"]["root"]).is_absolute()
    assert "hydra" not in content


def test_another_configuration_is_refused_and_the_keys_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_config(cfg())
    run.check(cfg())
    before = run.config_file.read_bytes()
    with (
        pytest.raises(UserError, match=r"optimizer\.lr is 0.001 there and 0.5 here; seed is 0 there and 1 here"),
        run.claim(cfg("optimizer.lr=0.5", "seed=1")),
    ):
        pass
    assert run.config_file.read_bytes() == before


def test_only_unfinished_files_are_removed(tmp_path: Path) -> None:
    names = ["config.yaml", "model.onnx", "checkpoints/last.ckpt", "checkpoints/epochs/1.ckpt", "draw/index.html"]
    leftovers = [unfinished(tmp_path / name) for name in names]
    foreign = [tmp_path / name for name in (".notes.2024", ".config.yaml.backup", "results.json.1")]
    for path in (*foreign, *leftovers):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    foreign.append(unfinished(tmp_path / "copy"))
    foreign[-1].mkdir()  # an unfinished folder, which another command may be writing
    with Run(tmp_path).claim(cfg()):
        assert all(path.exists() for path in foreign)
        assert not any(path.exists() for path in leftovers)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(UserError, match="another process is training"),
        Run(tmp_path).claim(cfg()),
    ):
        pass


def test_a_run_may_resume_with_data_in_another_location(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_config(cfg())
    run.check(cfg("data.root=/somewhere/else", "data.mirrors=[http://localhost/]"))


def test_a_failure_is_recorded_and_the_run_can_be_retried(tmp_path: Path) -> None:
    run = Run(tmp_path)
    error = OSError(28, "No space left on device [in brackets]")
    with pytest.raises(OSError, match="brackets"), run.claim(cfg()):
        raise error
    assert run.state() == f"failed: {error}"
    with run.claim(cfg()) as results:  # the lock is free again, and a failed run may be tried again
        assert results is None


def test_an_interruption_behind_another_error_is_not_a_failure(tmp_path: Path) -> None:
    run, error = Run(tmp_path), RuntimeError("of a library that was clearing up")
    error.__context__ = Interrupted(signal.SIGTERM)
    with pytest.raises(RuntimeError), run.claim(cfg()):
        raise error
    assert not run.results_file.exists()


def test_a_retried_run_is_unfinished_not_failed(tmp_path: Path) -> None:
    run, cfg = Run(tmp_path), resolve(composed())
    run.write_failure(ValueError("the loss is nan"))
    with run.claim(cfg):
        assert run.state() == "unfinished"


def test_a_failure_that_cannot_be_recorded_is_still_raised(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def fail() -> None:
        run.results_file.mkdir()
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"), run.claim(cfg()):
        fail()


def test_a_refusal_leaves_the_results_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_config(cfg())
    run.write_results(finished())
    with pytest.raises(UserError, match="another configuration"), run.claim(cfg("seed=1")):
        pass
    assert run.results == finished()


def test_a_run_without_its_configuration_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_results(finished())
    with pytest.raises(UserError, match="without its config.yaml"):
        run.check(cfg())


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.results is None
    run.write_results(finished(hardware={"cores": [0, 1]}))
    assert run.results == finished(hardware={"cores": [0, 1]})
    assert '    "cores": [0, 1]\n' in run.results_file.read_text()  # a list stays on one line


def test_a_failed_run_has_no_results(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_failure(ValueError("the loss is nan"))
    assert run.results is None
    assert run.state() == "failed: the loss is nan"


@pytest.mark.parametrize(
    "change",
    [
        {"test_accuracy": "high"},
        {"test_accuracy": 1.5},
        {"val_accuracy": [1]},
        {"val_loss": float("nan")},
        {"test_loss": float("inf")},
        {"dataset": {"name": "mnist"}},
        {"parameters": 2**80},
        {"epochs": -1},
    ],
)
def test_values_that_no_run_writes_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    run = Run(tmp_path)
    run.results_file.write_text(json.dumps({**asdict(finished()), **change}))
    with pytest.raises(
        UserError, match=f"is not a file that a run writes \\({next(iter(change))}.*delete it to run again"
    ):
        _ = run.results


def test_deep_nesting_and_huge_numbers_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.results_file.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"results\.json is not a file that a run writes"):
        _ = run.results
    run.config_file.write_text("[" * 20_000)
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        run.read_config()
    run.metrics_file.write_text(f"epoch,train/loss\n0,{'9' * 400}\n")
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read"):
        run.read_metrics()


@pytest.mark.parametrize("content", ["", "{", "\xff", '{"status": "finished"}', '{"status": "finished", "more": 1}'])
def test_a_damaged_results_file_is_reported(tmp_path: Path, content: str) -> None:
    run = Run(tmp_path)
    run.results_file.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"results\.json"):
        _ = run.results


def test_results_that_the_system_cannot_read_are_not_called_damaged(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.results_file.symlink_to(run.results_file)
    with pytest.raises(UserError, match=r"results\.json cannot be read: Too many levels of symbolic links\.$"):
        run.state()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    write(run.results_file, "before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(run.results_file, "after")
    assert run.results_file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_with_nan_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        Run(tmp_path).write_results(finished(test_loss=float("nan")))
    assert not Run(tmp_path).results_file.exists()


def test_metrics_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.read_metrics() == []
    rows = [{"epoch": 0.0, "train/loss": 1.5}, {"epoch": 1.0, "train/loss": 0.5, "val/loss": 0.25}]
    write_rows(run.metrics_file, rows)
    assert run.read_metrics() == rows


def test_differences_between_configurations() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": 1}]}
    other = {"a": {"b": 1, "c": [1, 3]}, "d": [{"e": 1}, {"e": 2}]}
    assert differences([one, one]) == {}
    assert differences([one, other]) == {"a.c": ([1, 2], [1, 3]), "d.1.e": (None, 2)}


def test_a_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_config(cfg())
    run.config_file.write_text(run.config_file.read_text() + "overfitting: false\n")
    with pytest.raises(UserError, match="another version of digits .it has the key overfitting., and cannot"):
        run.check(cfg())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    message = "has no file locks, which keep two processes apart"
    with pytest.raises(UserError, match=message), Run(tmp_path).claim(cfg()):
        pass
    with pytest.raises(UserError, match=message):
        obtain(tmp_path, ["http://127.0.0.1:9"])
    with pytest.raises(UserError, match=message):
        open_study(tmp_path, "none")


def test_two_processes_never_share_a_temporary_name(tmp_path: Path) -> None:
    """Even if their process IDs are equal, as in two containers."""
    assert unfinished(tmp_path / "results.json") != unfinished(tmp_path / "results.json")
