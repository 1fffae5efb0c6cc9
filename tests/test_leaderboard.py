"""The leaderboard: best first, with what differs, and with a row for what failed."""

import csv
from pathlib import Path

import pytest

from digits.config import check
from digits.errors import UserError
from digits.leaderboard import leaderboard
from digits.run import Run

from .conftest import TINY, composed
from .test_run import results


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Jobs 0 and 10 finished, 2 failed, 3 cut off."""
    for job, lr in (("0", 0.1), ("2", 10.0), ("3", 0.01), ("10", 0.001)):
        run = Run(tmp_path / job)
        run.path.mkdir()
        run.write_config(check(composed(*TINY, f"optimizer.lr={lr}")))
        if job == "2":
            run.write_failure(ValueError("the loss is nan | at step 3"))
        elif job != "3":
            run.write_results(results(val_accuracy=0.98 if job == "10" else 0.11, test_accuracy=0.97))
    return tmp_path


def test_best_first_and_only_what_differs(sweep: Path) -> None:
    board = leaderboard(sweep)
    assert [row.job for row in board.rows] == ["10", "0", "2", "3"]
    assert [row.settings for row in board.rows] == [{"optimizer.lr": lr} for lr in ("0.001", "0.1", "10.0", "0.01")]
    assert [row.status for row in board.rows] == [
        "finished",
        "finished",
        "failed: the loss is nan | at step 3",
        "unfinished",
    ]
    assert board.failures == 2


def test_it_is_written_as_csv_and_markdown(sweep: Path) -> None:
    leaderboard(sweep).write()
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "", ""]
    assert rows[0]["optimizer.lr"] == "0.001"
    assert rows[0]["val_accuracy"] == "0.9800"
    markdown = (sweep / "leaderboard.md").read_text().splitlines()
    assert markdown[0].startswith("| rank | optimizer.lr | val_accuracy |")
    assert len(markdown) == 6
    assert {line.replace(r"\|", "").count("|") for line in markdown} == {markdown[0].count("|")}


def test_what_a_class_has_by_default_is_no_column(tmp_path: Path) -> None:
    for job, words in enumerate((["optimizer=adam"], ["optimizer=sgd"], ["optimizer=sgd", "optimizer.momentum=0.5"])):
        run = Run(tmp_path / str(job))
        run.path.mkdir()
        run.write_config(check(composed("optimizer.lr=0.01", *words)))
        run.write_results(results())
    assert list(leaderboard(tmp_path).rows[0].settings) == ["optimizer._target_", "optimizer.momentum"]


def test_a_job_of_one_setting_has_no_columns_of_settings(tmp_path: Path) -> None:
    run = Run(tmp_path / "0")
    run.path.mkdir()
    run.write_config(check(composed(*TINY)))
    run.write_results(results())
    assert leaderboard(tmp_path).rows[0].settings == {}


@pytest.mark.parametrize(("val_accuracy", "order"), [(0.9, "validation accuracy"), (None, "test accuracy")])
def test_it_says_by_what_it_is_ordered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], val_accuracy: float | None, order: str
) -> None:
    run = Run(tmp_path / "0")
    run.path.mkdir()
    run.write_config(check(composed(*TINY)))
    run.write_results(results(val_accuracy=val_accuracy))
    leaderboard(tmp_path).print()
    assert f"best {order}" in capsys.readouterr().out


def test_a_folder_without_jobs_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no job"):
        leaderboard(tmp_path)
