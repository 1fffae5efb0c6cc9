"""The leaderboard: best first, with the settings that differ, and with a row for each failed job."""

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console

from digits.errors import UserError
from digits.runs.rows import write_rows
from digits.runs.run import Run
from digits.sweeps import tables
from digits.sweeps.leaderboard import rank
from digits.sweeps.plan import write_plan
from digits.sweeps.tables import cells, copy_best, figures, print_table, write_files
from digits.validation import resolve

from ..helpers import TINY, composed, finished


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Jobs 0 and 10 have finished, 2 has failed, 3 is unfinished."""
    for job, lr in (("0", 0.1), ("2", 10.0), ("3", 0.01), ("10", 0.001)):
        run = Run(tmp_path / job)
        run.path.mkdir()
        run.write_config(resolve(composed(*TINY, f"optimizer.lr={lr}")))
        if job == "2":
            run.write_failure(ValueError("the loss is nan | at step 3"))
        elif job != "3":
            run.write_results(finished(val_accuracy=0.98 if job == "10" else 0.11, test_accuracy=0.97))
    return tmp_path


def test_rows_are_best_first_with_only_the_settings_that_differ(sweep: Path) -> None:
    board = rank(sweep)
    assert [[job.name for job in row.jobs] for row in board.rows] == [["10"], ["0"], ["2"], ["3"]]
    assert [row.settings for row in board.rows] == [{"optimizer.lr": lr} for lr in ("0.001", "0.1", "10.0", "0.01")]
    assert [row.status for row in board.rows] == [
        "finished",
        "finished",
        "failed: the loss is nan | at step 3",
        "unfinished",
    ]
    assert board.failures == 2


def test_validation_and_test_accuracies_are_not_compared(tmp_path: Path) -> None:
    """A job without a validation set comes after those with one, however good its test accuracy is."""
    for job, (val_size, accuracy) in enumerate(((0, None), (40, 0.5), (40, 0.6))):
        run = Run(tmp_path / str(job))
        run.path.mkdir()
        run.write_config(resolve(composed(*TINY, f"data.val_size={val_size}", f"optimizer.lr=0.0{job + 1}")))
        run.write_results(finished(val_accuracy=accuracy, test_accuracy=0.99))
    board = rank(tmp_path)
    assert [[job.name for job in row.jobs] for row in board.ranked] == [["2"], ["1"], ["0"]]
    assert board.best().name == "2"
    assert not board.by_test


def test_a_leaderboard_is_written_as_csv_and_markdown(sweep: Path) -> None:
    write_files(rank(sweep))
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "", ""]
    assert rows[0]["optimizer.lr"] == "0.001"
    assert rows[0]["val_accuracy"] == "0.98"
    markdown = (sweep / "leaderboard.md").read_text().splitlines()
    assert markdown[0].startswith("| rank | optimizer.lr | val_accuracy |")
    assert len(markdown) == 10  # a table of six lines, and two notes
    assert {line.replace(r"\|", "").count("|") for line in markdown[:6]} == {markdown[0].count("|")}


def test_default_arguments_of_a_class_are_not_columns(tmp_path: Path) -> None:
    for job, words in enumerate((["optimizer=adam"], ["optimizer=sgd"], ["optimizer=sgd", "optimizer.momentum=0.5"])):
        run = Run(tmp_path / str(job))
        run.path.mkdir()
        run.write_config(resolve(composed("optimizer.lr=0.01", *words)))
        run.write_results(finished())
    assert list(rank(tmp_path).rows[0].settings) == ["optimizer._target_", "optimizer.momentum"]


def test_a_single_job_has_no_columns_of_settings(tmp_path: Path) -> None:
    run = Run(tmp_path / "0")
    run.path.mkdir()
    run.write_config(resolve(composed(*TINY)))
    run.write_results(finished())
    assert rank(tmp_path).rows[0].settings == {}


@pytest.mark.parametrize(("val_accuracy", "order"), [(0.9, "validation accuracy"), (None, "test accuracy")])
def test_the_title_names_the_accuracy_that_orders_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], val_accuracy: float | None, order: str
) -> None:
    run = Run(tmp_path / "0")
    run.path.mkdir()
    run.write_config(resolve(composed(*TINY)))
    run.write_results(finished(val_accuracy=val_accuracy))
    print_table(rank(tmp_path), [])
    assert f"best {order}" in capsys.readouterr().out


def test_a_folder_without_jobs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no job"):
        rank(tmp_path)


def write_sweep(sweep: Path, *jobs: str) -> None:
    """Write a sweep with its plan and with finished jobs, each better than the one before."""
    sweep.mkdir(exist_ok=True)
    write_plan(sweep, [words.split() for words in jobs])
    for number, words in enumerate(jobs):
        run = Run(sweep / str(number))
        run.path.mkdir()
        run.write_config(resolve(composed(*words.split())))
        run.write_results(finished(val_accuracy=0.9 + number / 100, test_accuracy=0.8 + number / 100))
        rows = [{"epoch": epoch, "val/accuracy": 0.5 + number / 100 + epoch / 10} for epoch in range(3)]
        write_rows(run.metrics_file, rows)


def test_seeds_are_one_row_with_mean_deviation_and_interval(tmp_path: Path) -> None:
    write_sweep(tmp_path, *(f"optimizer.lr={lr} seed={seed}" for lr in (0.1, 0.01) for seed in (0, 1, 2)))
    board = rank(tmp_path)
    assert [row.settings for row in board.rows] == [{"optimizer.lr": "0.01"}, {"optimizer.lr": "0.1"}]
    spread = board.rows[0].stats("test_accuracy")
    assert spread is not None
    assert (spread.mean, spread.std, spread.min, spread.max) == pytest.approx((0.84, 0.01, 0.83, 0.85))
    assert board.rows[0].interval() == pytest.approx((0.83269, 0.84705), abs=1e-4)  # 0.84 of 10,000, by hand
    write_files(board)
    record = json.loads((tmp_path / "leaderboard.json").read_text())["rows"][0]
    assert (record["rank"], record["n"], record["jobs"]) == (1, 3, ["3", "4", "5"])
    assert (record["test_accuracy"]["ci95_low"], record["test_accuracy"]["ci95_high"]) == board.rows[0].interval()
    assert record["val_accuracy"] == pytest.approx({"mean": 0.94, "std": 0.01, "min": 0.93, "max": 0.95})
    table, note, lacking = (tmp_path / "leaderboard.md").read_text().split("\n\n")
    assert "cannot be compared by test images" in lacking
    assert "| 0.8400 ± 0.0100 |" in table
    assert note == (
        "First row: test accuracy 0.8400, 0.8300 to 0.8500 over 3 seeds; 95 % interval for digits in general, "
        "of which these 10,000 are a sample: 0.8327 to 0.8471."
    )
    with (tmp_path / "leaderboard.csv").open() as file:
        assert next(csv.DictReader(file))["test_accuracy_std"] == "0.01"


def test_planned_jobs_that_have_not_started_are_missing(tmp_path: Path) -> None:
    write_sweep(tmp_path, "optimizer.lr=0.1", "optimizer.lr=0.01")
    write_plan(tmp_path, [[f"optimizer.lr={lr}"] for lr in (0.1, 0.01, 0.001)])
    board = rank(tmp_path)
    assert [(row.settings["optimizer.lr"], row.status) for row in board.rows][2] == ("0.001", "missing")
    assert board.failures == 1


def test_columns_are_the_typed_overrides_that_differ(tmp_path: Path) -> None:
    write_sweep(tmp_path, "model=compact label_smoothing=0.1", "model=mlp label_smoothing=0.1")
    assert [row.settings for row in rank(tmp_path).rows] == [{"model": "mlp"}, {"model": "compact"}]


def test_several_sweeps_share_a_leaderboard(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a", "optimizer.lr=0.1 seed=0", "optimizer.lr=0.01 seed=0")
    write_sweep(tmp_path / "b", "optimizer.lr=0.01 seed=1")
    board = rank(tmp_path / "a", tmp_path / "b", output=tmp_path / "both")
    assert [[job.name for job in row.jobs] for row in board.rows] == [["a/1", "b/0"], ["a/0"]]
    write_files(board)
    assert (tmp_path / "both/leaderboard.csv").exists()


def test_sweeps_with_the_same_name_are_distinguished(tmp_path: Path) -> None:
    for folder in ("one/rates", "two/rates"):
        (tmp_path / folder).mkdir(parents=True)
        write_sweep(tmp_path / folder, "seed=0")
    board = rank(tmp_path / "one/rates", tmp_path / "two/rates", output=tmp_path)
    assert board.duplicates == {"two/rates/0": "one/rates/0"}


def test_a_curve_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sweep(tmp_path, "optimizer.lr=0.1", "optimizer.lr=0.2")
    Run(tmp_path / "1").metrics_file.write_text("epoch,val/accuracy\nx,y\n")
    board = rank(tmp_path)
    assert all(path.exists() for path in write_files(board))
    assert len(board.ranked) == 2
    assert "The curve of job 1 is left out: " in caplog.text


@pytest.mark.slow
def test_a_plot_of_many_lines_has_its_legend_beside_it(tmp_path: Path) -> None:
    write_sweep(tmp_path, *(f"label_smoothing={n / 100} optimizer.lr={lr}" for n in range(8) for lr in (0.1, 0.2)))
    for job in range(16):
        Run(tmp_path / str(job)).write_results(finished(val_accuracy=0.5 + job / 100))
    drawn = dict(figures(rank(tmp_path).ranked))
    (legend,) = drawn["accuracy-optimizer.lr"].legends
    assert len(legend.get_texts()) == 8
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn["accuracy-optimizer.lr"].axes[0].lines}
    assert len(styles) == 8


@pytest.mark.slow
def test_many_values_are_spread_over_a_logarithmic_axis(tmp_path: Path) -> None:
    """0.001, 0.01 and 0.1 at equal distances, whatever lies between them."""
    rates = [0.001, 0.01, *(0.02 + n / 1000 for n in range(8)), 0.1]
    write_sweep(tmp_path, *(f"optimizer.lr={lr} label_smoothing={n / 100}" for n, lr in enumerate(rates)))
    axes = dict(figures(rank(tmp_path).ranked))["settings"].axes[0]
    heights = sorted(line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 2 and line.get_alpha())
    assert (heights[0], heights[1], heights[-1]) == pytest.approx((0, 0.5, 1))
    assert [text.get_text() for text in axes.texts[:5]] == ["0.001", "0.00316", "0.01", "0.0316", "0.1"]


def test_long_words_are_shortened_and_whole_numbers_are_not(tmp_path: Path) -> None:
    write_sweep(tmp_path, *(f"data.split_seed=123456789{n} optimizer.lr=0.012345678{n}" for n in range(2)))
    header, *rows = cells(rank(tmp_path))
    shown = {tuple(row[header.index(name)] for name in ("data.split_seed", "optimizer.lr")) for row in rows}
    assert shown == {("1234567890", "0.01235"), ("1234567891", "0.01235")}
    assert tables.short("[{channels: 16}, {channels: 32}]") == "[{channels: 16}, {chann…"


def test_a_narrow_terminal_keeps_numbers_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(tmp_path, *(f"optimizer.lr={lr} seed={seed}" for lr in (0.1, 0.01) for seed in (0, 1)))
    monkeypatch.setattr(tables, "terminal", lambda: Console(width=80, force_terminal=True, color_system=None))
    print_table(rank(tmp_path), [])
    header, row = capsys.readouterr().out.splitlines()[1:3]
    assert header.split() == ["rank", "optimizer.lr", "n", "val_accuracy", "test_accuracy", "job", "status"]
    assert "0.9250 ± 0.0071" in row
    assert row.split()[-1] == "finished"


def test_a_job_without_a_result_shows_its_seed(tmp_path: Path) -> None:
    write_sweep(tmp_path, *(f"optimizer.lr=0.1 seed={seed}" for seed in range(3)))
    for job in (1, 2):
        Run(tmp_path / str(job)).write_failure(RuntimeError("no"))
    board = rank(tmp_path)
    header, *rows = cells(board)
    assert [row[header.index("job")] for row in rows] == ["0", "1 (seed 1)", "2 (seed 2)"]
    write_files(board)
    assert [row["seeds"] for row in json.loads((tmp_path / "leaderboard.json").read_text())["rows"]] == [
        ["0"],
        ["1"],
        ["2"],
    ]


def test_scheduler_none_is_shown_by_its_name(tmp_path: Path) -> None:
    write_sweep(tmp_path, "scheduler=none", "scheduler=cosine")
    assert [row.settings for row in rank(tmp_path).rows] == [{"scheduler": "cosine"}, {"scheduler": "none"}]


def test_duplicate_jobs_are_left_out_and_named(tmp_path: Path) -> None:
    write_sweep(tmp_path, "seed=0 optimizer.lr=0.1", "seed=0 optimizer.lr=0.1", "seed=1 optimizer.lr=0.1")
    board = rank(tmp_path, tmp_path / "../" / tmp_path.name, output=tmp_path)
    assert [[job.name for job in row.jobs] for row in board.rows] == [["0", "2"]]
    assert board.duplicates == {"1": "0"}
    write_files(board)
    last_line = (tmp_path / "leaderboard.md").read_text().splitlines()[-1]
    assert last_line == "Job 1 has the configuration of job 0, and is left out."


def test_runs_on_different_data_are_different_rows(tmp_path: Path) -> None:
    write_sweep(tmp_path, "optimizer.lr=0.1 seed=0", "optimizer.lr=0.1 seed=1")
    run = Run(tmp_path / "1")
    sample = {"name": "mnist-sample-5k", "train": 4000, "val": 500, "test": 500, "fingerprint": "1"}
    run.write_results(finished(dataset=sample, val_accuracy=0.99))
    board = rank(tmp_path)
    assert [row.settings["dataset"] for row in board.rows] == ["mnist", "mnist-sample-5k"]
    assert board.best().name == "0"  # although the other one, on the sample, has a higher accuracy
    write_files(board)
    warning = "A SAMPLE of the digits, in job 1: these results do not compare with those of all of MNIST."
    assert (tmp_path / "leaderboard.md").read_text().splitlines()[-1] == warning


@pytest.mark.parametrize("words", [["seed=0", "seed=1"], ["optimizer.lr=0.1", "optimizer.lr=0.2"]])
def test_a_ranking_by_test_accuracy_is_announced(tmp_path: Path, words: list[str]) -> None:
    for job, word in enumerate(words):
        run = Run(tmp_path / str(job))
        run.path.mkdir()
        run.write_config(resolve(composed(*TINY, "data.val_size=0", word)))
        run.write_results(finished(val_accuracy=None, test_accuracy=0.97))
        board = rank(tmp_path)
        write_files(board)
        announced = "No validation set: ranked by test accuracy" in (tmp_path / "leaderboard.md").read_text()
        assert board.by_test == (job == 1)  # with two jobs, --best chooses by test accuracy
        assert announced == (len(board.rows) == 2)


def test_a_group_with_a_slash_gives_a_valid_file_name(tmp_path: Path) -> None:
    write_sweep(tmp_path, "data/augment=none", "data/augment=affine")
    files = write_files(rank(tmp_path))
    assert tmp_path / "accuracy-data-augment.png" in files
    assert all(path.exists() for path in files)


def test_an_error_of_many_lines_fits_into_one_row_of_the_table(tmp_path: Path) -> None:
    write_sweep(tmp_path, "seed=0", "seed=1")
    Run(tmp_path / "1").write_failure(RuntimeError("one\n\n  two | three"))
    write_files(rank(tmp_path))
    table = (tmp_path / "leaderboard.md").read_text().splitlines()
    assert len(table) == 6
    assert table[3].endswith("| 1 (seed 1) | failed: one two \\| three |")


@pytest.mark.slow
def test_plots_of_a_sweep(tmp_path: Path) -> None:
    words = [f"model={model} optimizer.lr={lr}" for model in ("compact", "mlp") for lr in (0.1, 0.01)]
    write_sweep(tmp_path, *words)
    board = rank(tmp_path)
    drawn = dict(figures(board.ranked))
    assert set(drawn) == {"accuracy-model", "accuracy-optimizer.lr", "settings", "curves"}
    rates = drawn["accuracy-optimizer.lr"].axes[0]
    assert rates.get_xscale() == "log"
    assert {line.get_label(): line.get_xydata().tolist() for line in rates.lines} == {
        "model=mlp": [[0.01, pytest.approx(93)], [0.1, pytest.approx(92)]],
        "model=compact": [[0.01, pytest.approx(91)], [0.1, pytest.approx(90)]],
    }
    assert [tick.get_text() for tick in drawn["accuracy-model"].axes[0].get_xticklabels()] == ["compact", "mlp"]
    assert len([line for line in drawn["curves"].axes[0].lines if len(line.get_xdata())]) == 4
    assert {line.get_linestyle() for line in rates.lines} == {"-"}
    files = write_files(board)
    assert {path.name for path in files if path.suffix == ".png"} == {f"{name}.png" for name in drawn}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files if path.suffix == ".png")


def test_sizes_are_shown_if_they_differ_and_overfitting_is_plotted(tmp_path: Path) -> None:
    for job, (rate, parameters, accuracy) in enumerate(((0.1, 3000, 1.0), (0.1, 3000, 0.98), (0.2, 20, 0.9))):
        run = Run(tmp_path / str(job))
        run.path.mkdir()
        run.write_config(resolve(composed(f"optimizer.lr={rate}", f"seed={job}", "evaluate_train=true")))
        run.write_results(
            finished(parameters=parameters, multiply_adds=7, train_accuracy=accuracy, val_accuracy=0.5 + job / 10)
        )
    board = rank(tmp_path)
    header, *rows = cells(board)
    assert "multiply_adds" not in header
    shown = [[row[header.index(name)] for name in ("n", "train_accuracy", "parameters")] for row in rows]
    assert shown == [["1", "0.9000", "20"], ["2", "0.9900 ± 0.0141", "3,000"]]
    drawn = dict(figures(board.ranked))["overfitting"].axes[0]
    names = [label.get_text() for label in drawn.get_yticklabels()]
    assert [name.splitlines()[1:] for name in names] == [
        ["3,000 parameters", "7 multiply-adds"],
        ["20 parameters", "7 multiply-adds"],
    ]
    trained, tested = (part.get_offsets().tolist() for part in reversed(drawn.collections))
    assert [x for x, _ in trained] == pytest.approx([99, 90])
    assert [x for x, _ in tested] == pytest.approx([90, 90])
    assert "overfitting" not in dict(figures([]))


def test_the_best_run_is_copied_into_a_new_directory(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", "optimizer.lr=0.1 seed=0", "optimizer.lr=0.01 seed=0", "optimizer.lr=0.01 seed=1")
    board = rank(tmp_path / "sweep")
    (tmp_path / "sweep/2/link").symlink_to("gone")
    assert board.best().name == "2"
    copy_best(board, tmp_path / "best")
    assert (tmp_path / "best/results.json").read_bytes() == (tmp_path / "sweep/2/results.json").read_bytes()
    with pytest.raises(UserError, match="exists; name a new directory"):
        copy_best(board, tmp_path / "best")
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "best"}


def test_there_is_no_best_run_before_a_job_has_finished(tmp_path: Path) -> None:
    write_plan(tmp_path, [["seed=0"]])
    with pytest.raises(UserError, match="no job of .* has finished"):
        rank(tmp_path).best()


@pytest.mark.parametrize("content", ["{", "[]", '{"jobs": {"a": {}}}', '{"jobs": {"0": {"seed": 3}}}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json cannot be read"):
        rank(tmp_path)


def test_a_search_is_drawn_as_points_and_a_sweep_of_one_key_as_a_line(tmp_path: Path) -> None:
    write_sweep(tmp_path / "search", *(f"optimizer.lr={value} label_smoothing={value}" for value in (0.1, 0.2)))
    ((points,),) = (dict(figures(rank(tmp_path / "search").ranked))["accuracy-optimizer.lr"].axes[0].lines,)
    assert (points.get_linestyle(), len(points.get_xdata())) == ("None", 2)
    write_sweep(tmp_path / "sweep", "optimizer.lr=0.1", "optimizer.lr=0.2")
    ((line,),) = (dict(figures(rank(tmp_path / "sweep").ranked))["accuracy-optimizer.lr"].axes[0].lines,)
    assert (line.get_linestyle(), len(line.get_xdata())) == ("-", 2)
