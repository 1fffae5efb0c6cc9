"""The list of runs: newest first, finished or not."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from digits.errors import UserError
from digits.runs import listing
from digits.runs.find import list_runs
from digits.runs.listing import print_runs
from digits.runs.results import Results
from digits.runs.run import Run
from digits.validation import resolve

from ..helpers import composed, finished


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs, each a minute newer than the one before: finished, failed, unfinished, unreadable."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("outputs/day/a", "multirun/b/0", "outputs/c", "outputs/d")):
        run = Run(tmp_path / name)
        run.path.mkdir(parents=True)
        words = ["tags=[first,good]", "notes='as it was'"] if name.endswith("a") else ["tags=[good]"]
        run.write_config(resolve(composed(*words)))
        if name.endswith("a"):
            run.write_results(finished(val_accuracy=0.9876, train_seconds=75.0))
        if name.endswith("0"):
            run.write_failure(ValueError("the loss is nan"))
        if name.endswith("d"):
            run.config_file.write_text("{")
        for file in run.path.iterdir():
            os.utime(file, (2e9 + 60 * number,) * 2)
    return tmp_path


def test_runs_are_newest_first_and_can_be_filtered(folder: Path) -> None:
    entries = list_runs()
    assert [str(entry.path) for entry in entries] == ["outputs/d", "outputs/c", "multirun/b/0", "outputs/day/a"]
    assert [entry.status.partition(":")[0] for entry in entries] == ["failed", "unfinished", "failed", "finished"]
    assert [entry.notes for entry in entries] == ["", "", "", "as it was"]
    assert [str(entry.path) for entry in list_runs(tag="first")] == ["outputs/day/a"]
    assert len(list_runs(tag="good")) == 3
    assert [str(entry.path) for entry in list_runs([Path("multirun")])] == ["multirun/b/0"]
    with pytest.raises(UserError, match="the folder gone does not exist"):
        list_runs([Path("gone")])


def test_runs_are_printed_as_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_runs(list_runs())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["when", "run", "status", "validation", "test", "data", "set", "time", "tags", "notes"]
    assert "outputs/day/a" in lines[-1]
    assert "98.76 %" in lines[-1]
    assert "1 min 15 s" in lines[-1]
    assert "first good" in lines[-1]
    assert "as it was" in lines[-1]


@pytest.mark.parametrize(
    ("width", "columns"),
    [(60, "when run status test"), (80, "when run status validation test"), (120, "when run status validation test "
     "data set time tags notes")],
)  # fmt: skip
def test_a_narrow_terminal_shows_the_main_columns(
    width: int, columns: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "outputs/d/config.yaml").unlink()
    monkeypatch.setattr(listing, "terminal", lambda: Console(width=width, force_terminal=True, color_system=None))
    print_runs(list_runs())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == columns.split()


def test_a_refused_run_is_listed_as_failed(folder: Path) -> None:
    refused = Run(folder / "multirun/b/1")
    refused.path.mkdir()
    refused.write_failure(UserError("no such GPU"))
    assert {str(entry.path): entry.status for entry in list_runs([Path("multirun")])} == {
        "multirun/b/0": "failed: the loss is nan",
        "multirun/b/1": "failed: no such GPU",
    }


def test_an_empty_folder_has_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list_runs() == []


def test_tags_that_are_not_a_list_do_not_stop_the_list(folder: Path) -> None:
    (folder / "outputs/d/config.yaml").write_text("tags: 5\n")
    assert {entry.path.name: entry.tags for entry in list_runs()}["d"] == []


def test_a_run_without_read_permission_is_listed_as_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Run.outcome

    def refuse(run: Run) -> tuple[Results | None, str]:
        if run.path.name == "c":
            raise PermissionError(13, "Permission denied", str(run.results_file))
        return outcome(run)

    monkeypatch.setattr(Run, "outcome", refuse)
    assert {entry.path.name: entry.status.partition(":")[0] for entry in list_runs()}["c"] == "failed"
    assert len(list_runs()) == 4


def test_links_to_runs_are_followed(folder: Path, tmp_path: Path) -> None:
    """Each run is listed once, and a circle of links ends. ``.hydra`` also has a config.yaml, but is not a run."""
    elsewhere = tmp_path / "elsewhere"
    (folder / "outputs/day/a").rename(elsewhere)
    (folder / "outputs/day/a").symlink_to(elsewhere)
    (folder / "outputs/day/again").symlink_to(elsewhere)
    (folder / "outputs/day/circle").symlink_to(folder / "outputs")
    (folder / "outputs/d/.hydra").mkdir()
    (folder / "outputs/d/.hydra/config.yaml").write_text("seed: 0\n")
    assert [str(entry.path) for entry in list_runs()] == ["outputs/d", "outputs/c", "multirun/b/0", "outputs/day/a"]
