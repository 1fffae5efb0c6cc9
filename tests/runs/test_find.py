"""A run directory, a checkpoint or ``latest`` leads to a trained network; other names are refused with a message."""

import json
import os
import shutil
from pathlib import Path

import pytest

from digits.errors import UserError
from digits.runs.find import find
from digits.runs.run import Run


def test_a_run_directory_and_its_checkpoints_are_found(sample_run: Path) -> None:
    trained = find(sample_run)
    assert (trained.checkpoint, trained.home) == (sample_run / "checkpoints/best.ckpt", sample_run)
    assert trained.finished_run()[1].status == "finished"
    last = find(str(sample_run / "checkpoints/last.ckpt"))
    assert last.checkpoint.name == "last.ckpt"
    assert last.home == sample_run / "checkpoints"  # its outputs are written beside it
    assert last.finished_run()[0].path == sample_run


def test_the_home_of_a_checkpoint_in_the_root_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert find("/mine.ckpt").home == Path("/")


def test_only_the_tested_checkpoint_has_results(sample_run: Path) -> None:
    assert find(sample_run).results == Run(sample_run).results
    assert find(sample_run / "checkpoints/best.ckpt").results is not None
    assert find(sample_run / "checkpoints/last.ckpt").results is None


def test_a_copy_of_a_checkpoint_belongs_to_no_run(sample_run: Path, tmp_path: Path) -> None:
    shutil.copy(sample_run / "checkpoints/best.ckpt", tmp_path / "mine.ckpt")
    trained = find(tmp_path / "mine.ckpt")
    assert (trained.home, trained.run) == (tmp_path, None)
    with pytest.raises(UserError, match="not in the directory of a finished run"):
        trained.finished_run()


def test_latest_is_the_newest_finished_run(sample_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no finished run under outputs or multirun"):
        find("latest")
    runs = [tmp_path / "outputs/one", tmp_path / "multirun/rates/0", tmp_path / "outputs/failed"]
    for age, run in zip((200, 100, 0), runs, strict=True):
        shutil.copytree(sample_run, run)
        time = run.stat().st_mtime - age
        os.utime(run / "results.json", (time, time))
    Run(runs[2]).write_failure(RuntimeError("no"))
    assert find("latest").home == Path("multirun/rates/0")
    (runs[1] / "results.json").write_text("{")
    assert find("latest").home == Path("outputs/one")


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ([], "is not a run directory"),
        (["config.yaml"], "has not finished its first epoch"),
        (["config.yaml", "checkpoints"], "has not finished; the command that started it"),
        (["config.yaml", "results.json"], "has no checkpoints/best.ckpt any more"),
    ],
)
def test_an_incomplete_directory_is_refused(sample_run: Path, tmp_path: Path, present: list[str], message: str) -> None:
    for name in present:
        copy = shutil.copytree if (sample_run / name).is_dir() else shutil.copy
        copy(sample_run / name, tmp_path / name)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        find(tmp_path)


def test_failed_and_pruned_runs_and_sweeps_are_refused(sample_run: Path, tmp_path: Path) -> None:
    Run(tmp_path).write_failure(RuntimeError("the loss is nan"))
    with pytest.raises(UserError, match=" failed: the loss is nan"):
        find(tmp_path)
    Run(tmp_path).write_state("pruned", "behind after 1 of 9 epochs")
    with pytest.raises(UserError, match=" was pruned: behind after 1 of 9 epochs"):
        find(tmp_path)
    (tmp_path / "results.json").write_text('{"status": "done", "accuracy": 1}')
    with pytest.raises(UserError, match=r"results\.json was not written by digits: its status is done\.$"):
        find(tmp_path)
    sweep = tmp_path / "sweep"
    shutil.copytree(sample_run, sweep / "1")
    (sweep / "0").mkdir()
    shutil.copy(sample_run / "config.yaml", sweep / "0")  # not finished
    with pytest.raises(UserError, match="There are runs below it, such as .*sweep/1"):
        find(sweep)


def test_an_unknown_name_is_refused(tmp_path: Path, sample_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs/unfinished").mkdir(parents=True)
    shutil.copy(sample_run / "config.yaml", tmp_path / "outputs/unfinished")
    with pytest.raises(UserError, match=r"there is no run directory or checkpoint outputs/frist\.$"):
        find("outputs/frist")
    shutil.copytree(sample_run, tmp_path / "outputs/first")
    with pytest.raises(UserError, match="`latest` means the newest finished run"):
        find("outputs/frist")


def test_damaged_results_are_reported(sample_run: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_run, tmp_path / "run")
    (tmp_path / "run/results.json").write_text(json.dumps({"status": "finished", "more": 1}))
    with pytest.raises(UserError, match="is not a file that a run writes"):
        find(tmp_path / "run")
