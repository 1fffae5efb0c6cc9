"""Searches: the values they choose, pruned and failed trials, resuming, and the files they write."""

import csv
import errno
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from digits import signals
from digits.errors import UserError
from digits.runs.run import Run
from digits.sweeps import best_trial, search, space
from digits.sweeps.leaderboard import rank
from digits.sweeps.space import SearchConfig
from digits.sweeps.study import FILE, importances
from digits.sweeps.tables import write_importance
from digits.sweeps.trial import Report, seeds_of, trainings_of
from digits.training import train as training

from ..helpers import QUICK, TINY, Forked, composed, restored, run

SPACE = {"optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True}, "data.batch_size": [20, 40]}


@pytest.fixture
def run_search(tiny_mnist: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that runs or resumes a search on tiny MNIST, and returns its study."""

    def run_search(trials: int = 4, name: str = "search", words: tuple[str, ...] = (), **changes: Any) -> Any:
        cfg = SearchConfig(**{"space": SPACE, "trials": trials, "pruner": "none", **changes})
        overrides = [*[word for word in TINY if "batch_size" not in word and ".lr" not in word], *words]
        return search.search(cfg, [*overrides, f"data.root={tiny_mnist}"], tmp_path / name)

    return run_search


def summary(study: Any) -> list[Any]:
    return [(trial.params, trial.value, trial.state.name, trial.intermediate_values) for trial in study.get_trials()]


@pytest.mark.slow
def test_every_trial_is_a_run(run_search: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "digits")
    study = run_search()
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * 4
    for trial in study.get_trials():
        run = Run(tmp_path / f"search/{trial.number}")
        results, config = run.results, run.read_config()
        assert results
        assert config
        assert trial.value == results.val_accuracy
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert 1e-4 <= trial.params["optimizer.lr"] <= 0.1
        assert config["data"]["batch_size"] == trial.params["data.batch_size"]
        rows = [row["val/accuracy"] for row in run.read_metrics()]
        assert list(trial.intermediate_values.values()) == pytest.approx(rows)
        assert "training loss" in (run.path / "train.log").read_text()
    board = rank(tmp_path / "search")
    assert list(board.rows[0].settings) == ["optimizer.lr", "data.batch_size"]
    assert board.best().name == str(study.best_trial.number)


@pytest.mark.slow
def test_the_first_trial_has_the_configurations_own_values(run_search: Callable[..., Any]) -> None:
    """Only the values that the space contains; Optuna chooses the others, and the groups."""
    space = {**SPACE, "model.head.dropout": [0.1, 0.2], "optimizer": ["adam", "adamw"], "data.split_seed": [0, 1]}
    first, second = run_search(trials=2, space=space).get_trials()
    assert first.params["optimizer.lr"] == 0.002
    assert first.params["data.split_seed"] == 0
    assert first.params["data.batch_size"] in (20, 40)
    assert second.params["optimizer.lr"] != 0.002


@pytest.mark.parametrize(
    ("value", "values", "within"),
    [(2, [1, 2], True), (3, [1, 2], False), (None, {"low": 1, "high": 2}, False), (1, {"low": 1, "high": 2}, True),
     (1.5, {"low": 1, "high": 2}, False), (1.5, {"low": 1, "high": 2.5}, True), (3.0, {"low": 1, "high": 2.5}, False)],
)  # fmt: skip
def test_a_space_contains_its_values(value: Any, values: Any, within: bool) -> None:
    assert space.contains(space.parse({"key": values})["key"], value) is within


@pytest.mark.slow
def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_search(trials=5, name="whole")
    train = training.train

    def stop(*args: Any, **kwargs: Any) -> Any:
        train(*args, **kwargs)
        raise KeyboardInterrupt  # before Optuna receives the result

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(training, "train", stop)
            with pytest.raises(KeyboardInterrupt):
                run_search(trials=5, name="cut")
    assert summary(run_search(trials=5, name="cut")) == summary(whole)
    assert len(run_search(trials=6, name="cut").get_trials()) == 6  # more trials extend it


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError("you tried to allocate 9 bytes"), MemoryError()])
def test_a_trial_that_runs_out_of_memory_has_failed(
    error: Exception, run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = training.train

    def small_only(cfg: Any, *args: Any, **kwargs: Any) -> Any:
        if cfg.data.batch_size == 40:
            raise error
        return train(cfg, *args, **kwargs)

    monkeypatch.setattr(training, "train", small_only)
    study = run_search(trials=4, space={"data.batch_size": [20, 40]}, sampler="random", seed=1)
    states = {trial.params["data.batch_size"]: trial.state.name for trial in study.get_trials()}
    assert states == {20: "COMPLETE", 40: "FAIL"}


def test_an_error_of_the_machine_ends_the_search(
    run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "train", fill_disk)
    with pytest.raises(OSError, match="No space"):
        run_search(trials=1)


@pytest.mark.slow
def test_a_search_resumes_despite_a_stale_lock_and_a_cut_off_line(
    run_search: Callable[..., Any], tmp_path: Path
) -> None:
    before = summary(run_search(trials=1))
    journal_file = tmp_path / "search/study.journal"
    journal_file.write_bytes(journal_file.read_bytes()[:-10])  # cuts off the line with the trial's result
    (tmp_path / "search/study.journal.lock").symlink_to("gone")  # Optuna's own lock is a symbolic link
    study = run_search(trials=2)
    assert summary(study)[:1] == before
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * 2


@pytest.mark.slow
def test_a_damaged_journal_or_search_file_is_refused(run_search: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    for content in ("{}\n{}\n", "garbage\ngarbage\n"):
        (tmp_path / "search/study.journal").write_text(content)
        with pytest.raises(UserError, match=r"study\.journal cannot be read .*; choose another --output"):
            run_search(trials=1)
    (tmp_path / "other/search.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"search\.json cannot be read .*; choose another --output"):
        run_search(trials=1, name="other")


@pytest.mark.slow
def test_a_search_on_other_data_is_refused(run_search: Callable[..., Any]) -> None:
    study = run_search(trials=1)
    assert study.user_attrs == {"mnist": "mnist"}
    study.set_user_attr("mnist", "mnist-sample-5k")
    with pytest.raises(UserError, match="this search began on mnist-sample-5k, and now there is mnist: set MNIST_ROOT"):
        run_search(trials=2)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "RUNNING"]
    study.set_user_attr("mnist", "mnist")
    assert [trial.state.name for trial in run_search(trials=2).get_trials()] == ["COMPLETE"] * 2


@pytest.mark.parametrize(
    "value",
    ["adam", "a b, \"c\"=d", "true", "null", "1_000", "1e3", "C:\\x\\", "it's", "", " ", "x=y", "[1]", "{a: 1}",
     "a,b", "choice(1,2)", "7", "outputs/2026-11-01/12-00-00", "outputs/été", 'say "7"', "end\\", 'both\\"',
     0.5, 1e-08, 3, True, None],
)  # fmt: skip
def test_hydra_reads_the_override_of_a_value_as_the_same_value(value: Any) -> None:
    (word,) = space.overrides({"key": value})
    read = OverridesParser.create().parse_override(word).value()
    read = read.text if isinstance(read, QuotedString) else read
    assert (read, type(read)) == (value, type(value))


def test_values_with_commas_and_quotes_are_searched_unchanged(run_search: Callable[..., Any], tmp_path: Path) -> None:
    study = run_search(trials=1, space={"notes": ['a b, "c"=d']})
    assert study.best_trial.params == {"notes": 'a b, "c"=d'}
    assert (Run(tmp_path / "search/0").read_config() or {})["notes"] == 'a b, "c"=d'


def test_a_search_refuses_keys_of_hydra(run_search: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--output names its directory"):
        run_search(words=("hydra.run.dir=x",))
    file = tmp_path / "space.yaml"
    file.write_text("space: {hydra.run.dir: [a, b]}")
    with pytest.raises(UserError, match="belongs to Hydra"):
        search.read(file)


@pytest.mark.slow
@pytest.mark.parametrize("override", ["scheduler=null", "~scheduler"])
def test_a_search_without_a_scheduler_writes_its_plan_and_experiment(
    override: str, run_search: Callable[..., Any], tmp_path: Path
) -> None:
    study = run_search(trials=1, words=(override,))
    assert override.partition("=")[0] in json.loads((tmp_path / "search/sweep.json").read_text())["jobs"]["0"]
    assert (Run(tmp_path / "search/0").read_config() or {})["scheduler"] is None
    file = best_trial.write_experiment(study, [override], tmp_path / "search")
    assert file is not None
    assert "scheduler: null" in file.read_text()


@pytest.mark.slow
def test_another_search_in_the_same_directory_is_refused(run_search: Callable[..., Any]) -> None:
    run_search(trials=1)
    for changes in ({"space": {"seed": [1, 2]}}, {"pruner": "asha"}, {"seed": 1}, {"words": ("seed=3",)}):
        with pytest.raises(UserError, match="holds another search"):
            run_search(trials=1, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_trials_that_fall_behind_are_pruned(pruner: str, run_search: Callable[..., Any], tmp_path: Path) -> None:
    study = run_search(trials=8, pruner=pruner, words=("trainer.max_epochs=4",))
    pruned = [trial for trial in study.get_trials() if trial.state.name == "PRUNED"]
    assert pruned
    for trial in pruned:
        assert len(trial.intermediate_values) < 4
        run = Run(tmp_path / f"search/{trial.number}")
        assert run.state().startswith(f"pruned: given up after epoch {len(trial.intermediate_values)}, at ")
        assert run.results is None
    board = rank(tmp_path / "search")
    assert sum(row.status.startswith("pruned") for row in board.rows) == len(pruned)
    assert board.failures == 0


@pytest.mark.slow
def test_a_trial_whose_loss_diverges_has_failed(run_search: Callable[..., Any], tmp_path: Path) -> None:
    words = ("optimizer=sgd", "scheduler=none")
    study = run_search(trials=3, words=words, space={"optimizer.lr": [1e30, 0.01]}, sampler="random", seed=1)
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in study.get_trials()}
    assert states == {1e30: "FAIL", 0.01: "COMPLETE"}
    assert max(Run(tmp_path / f"search/{number}").state().count("loss is") for number in range(2)) == 1


@pytest.mark.slow
def test_a_trial_of_incompatible_values_has_failed(run_search: Callable[..., Any]) -> None:
    """Each value is compatible with the first value of the other key, so the check before the search passes."""
    space = {"optimizer.momentum": [0.9, 0.0], "optimizer.nesterov": [False, True]}
    study = run_search(trials=16, words=("optimizer=sgd",), space=space, sampler="random", seed=1)
    states = {tuple(trial.params.values()): trial.state.name for trial in study.get_trials()}
    assert states == {
        (0.9, False): "COMPLETE",
        (0.9, True): "COMPLETE",
        (0.0, False): "COMPLETE",
        (0.0, True): "FAIL",
    }


def test_a_key_that_only_one_of_the_choices_has_is_refused(tmp_path: Path) -> None:
    space = {"model": ["article", "mlp"], "model.blocks.0.channels": [4, 8]}
    words = [word for word in TINY if not word.startswith("model")]
    cfg = SearchConfig(space=space, trials=6, pruner="none", sampler="random")
    with pytest.raises(UserError, match="model.blocks"):
        search.search(cfg, ["data=sample", *words], tmp_path / "search")


@pytest.mark.slow
def test_the_best_trial_is_an_experiment_that_repeats_it(
    tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_ROOT", str(tiny_mnist))
    words = ["model=strided", "optimizer=sgd", "optimizer.momentum=0.5", "trainer.max_epochs=1", "data.val_size=40"]
    space = {"optimizer.lr": [0.01, 0.02], "model.blocks.0.channels": [4, 6], "trainer.gradient_clip_val": [None, 1.0]}
    study = search.search(SearchConfig(space=space, trials=2), words, tmp_path / "search")
    path = best_trial.write_experiment(study, words, tmp_path / "search")
    assert path
    text = path.read_text()
    assert text.startswith("# @package _global_\n# digits train --config-dir")
    assert "override /optimizer: sgd" in text
    best = Run(tmp_path / f"search/{study.best_trial.number}").read_config()
    assert best
    search_path = f"hydra.searchpath=[file://{path.parent.parent}]"
    composed_again = asdict(search.resolve(composed("experiment=best", search_path)))
    assert {**composed_again, "report": False} == best


@pytest.mark.slow
def test_the_importance_of_each_key(run_search: Callable[..., Any], tmp_path: Path) -> None:
    study = run_search(trials=5)
    fractions = importances(study)
    assert set(fractions) == set(SPACE)
    assert sum(fractions.values()) == pytest.approx(1, abs=0.01)
    assert importances(study) == fractions
    files = write_importance(tmp_path, fractions)
    assert [path.name for path in files] == ["importance.json", "importance.png"]
    assert json.loads(files[0].read_text()) == fractions
    assert importances(run_search(trials=1, name="one")) == {}
    assert write_importance(tmp_path, {}) == []


@pytest.mark.parametrize(
    "values",
    [
        "0.1",
        [],
        [[1]],
        {"low": 1},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": "a", "high": "b"},
        {"low": "1", "high": "2"},
        {"low": False, "high": True},
        {"low": 1, "high": 1},
        {"low": 1, "high": 9, "step": 2},
        {"low": 1, "high": 9, "log": 1},
    ],
)
def test_invalid_values_of_a_space_are_refused(values: Any, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(json.dumps({"space": {"optimizer.lr": values}}))
    with pytest.raises(UserError, match=r"space\.optimizer\.lr: .* is not allowed; it has to be a list of values"):
        search.read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a search space: .* line [12], column"),
        ("spaces: {}", "is not a search space"),
        ("space: {}", "has nothing in its space"),
        ("{space: {seed: [1]}, trials: 0}", "trials=0 is not allowed"),
        ("{space: {seed: [1]}, pruner: axe}", "pruner=axe is not allowed"),
    ],
)
def test_an_invalid_search_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        search.read(tmp_path / "space.yaml")
    with pytest.raises(UserError, match="there is no search space"):
        search.read("gone")


@pytest.mark.parametrize(
    ("space", "words", "message"),
    [
        ({"optimizer.lrr": [1]}, [], "unknown key optimizer.lrr .* Did you mean optimizer.lr?"),
        ({"optimizer.lr": {"low": -1, "high": 1}}, [], "optimizer.lr=-1.0 is not allowed"),
        ({"model.head.dropout": {"low": 0.1, "high": 1}}, [], "model.head.dropout=1.0 is not allowed"),
        ({"model": ["compact", "kompact", "mlp"]}, [], "there is no model=kompact"),
        ({"seed": [1]}, ["seed=3"], "seed=3: the space has that key"),
        ({"seed": [1]}, ["++seed=3"], "seed=3: the space has that key"),
        ({"seed": [1]}, ["hydra/launcher=joblib"], "--output names its directory"),
        ({"seed": [1]}, ["model=compact,mlp"], "model=compact,mlp has several values"),
        ({"seed": [1]}, ["trainer.devices=2"], "trains in one process"),
        ({"seed": [1]}, ["data.val_size=0"], "compares validation accuracies"),
    ],
)
def test_an_impossible_search_is_refused_before_it_starts(
    space: Any, words: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        search.search(SearchConfig(space=space), words, tmp_path / "search")
    assert not (tmp_path / "search").exists()


FIXED = [word for word in QUICK if not word.startswith("optimizer.lr")]
COMMAND = ["-m", "digits", "search", *FIXED, "model.head.dropout=0.2"]


def start_search(folder: Path, name: str, *words: str) -> Forked:
    (folder / "space.yaml").write_text(json.dumps({"space": {"optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True}}}))
    return Forked(*COMMAND, *words, "--space", "space.yaml", "--output", name, cwd=folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as file:
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_repeatedly_killed_search_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """Each kill comes when the journal has reached a certain length."""
    words = ("--trials", "6", "trainer.max_epochs=3")
    whole = start_search(tmp_path, "the whole", *words)
    out = whole.printed(120)
    assert whole.returncode == 0, out
    assert "Importance after the first epoch: optimizer.lr 100 %" in out
    assert "\n  digits train --config-dir 'the whole' experiment=best\n" in out
    size = (tmp_path / "the whole" / FILE).stat().st_size
    journal = tmp_path / "cut" / FILE
    kills = zip((0.1, 0.3, 0.5, 0.8), (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL), strict=True)
    for fraction, number in kills:
        process = start_search(tmp_path, "cut", *words)
        while not journal.exists() or journal.stat().st_size < fraction * size:
            assert process.poll() is None, process.printed()
            time.sleep(0.01)
        process.send_signal(number)
        out = process.printed()
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), out
        assert "Traceback" not in out
    last = start_search(tmp_path, "cut", *words)
    out = last.printed(120)
    assert last.returncode == 0, out
    assert rows(tmp_path / "cut") == rows(tmp_path / "the whole")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_interrupted_while_values_are_chosen_is_completed(
    sampler: str, run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(cfg: Any, directory: Path, **_: Any) -> Any:
        return SimpleNamespace(metric=1 / (1 + cfg.optimizer.lr + cfg.label_smoothing))

    monkeypatch.setattr(training, "train", train)
    wide = {**SPACE, "label_smoothing": {"low": 0.0, "high": 0.5}}
    suggest = optuna.Trial._suggest

    def stop(trial: Any, name: str, distribution: Any) -> Any:
        if (trial.number, name) == (2, "label_smoothing"):
            raise KeyboardInterrupt
        return suggest(trial, name, distribution)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "_suggest", stop)
        with pytest.raises(KeyboardInterrupt):
            run_search(trials=4, space=wide, sampler=sampler)
    trials = run_search(trials=4, space=wide, sampler=sampler).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert all(trial.params.keys() == wide.keys() for trial in trials)
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 4  # no value is chosen twice


@pytest.mark.slow
def test_a_signal_while_a_trial_is_pruned_ends_the_search(
    run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prune(report: Report, *_: Any) -> None:
        report.trial.report(0.5, 1)
        signal.raise_signal(signal.SIGTERM)
        raise optuna.TrialPruned

    with restored():
        signals.install_handlers()
        monkeypatch.setattr(Report, "on_validation_end", prune)
        try:
            with pytest.raises(signals.Interrupted):
                run_search(trials=3)
        finally:
            signals.forget()


@pytest.mark.slow
def test_two_processes_share_a_search(tmp_path: Path) -> None:
    both = [start_search(tmp_path, "search", "--trials", "8") for _ in range(2)]
    outputs = [process.printed(200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    trials = [line for text in outputs for line in text.splitlines() if line.startswith("Trial ")]
    assert len(trials) == 8
    assert all(any(line.startswith(f"Trial {number} of 8") for line in trials) for number in range(1, 9))
    assert all("Trial" in text for text in outputs)  # each process ran some of them


def test_without_optuna_a_message_says_what_to_install(
    run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install optuna"):
        run_search()


@pytest.mark.slow
def test_a_search_without_a_finished_trial_exits_with_1(tmp_path: Path) -> None:
    space = {"space": {"optimizer.lr": [1e30, 2e30]}, "trials": 2}
    (tmp_path / "space.yaml").write_text(json.dumps(space))
    words = [*COMMAND, "optimizer=sgd", "scheduler=none", "--space", "space.yaml", "--output", "search"]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "2 of 2 jobs have no result" in done.stdout


@pytest.mark.slow
def test_a_search_with_several_seeds_per_trial(
    run_search: Callable[..., Any], tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial is the mean over its seeds; the best one is trained with fresh seeds, and both results are reported."""
    study = run_search(trials=2, seeds=2)
    first, second = study.get_trials()
    for trial, numbers in ((first, (0, 1)), (second, (2, 3))):
        runs = [Run(tmp_path / f"search/{number}") for number in numbers]
        results = [run.results for run in runs]
        assert [each.seed for each in results if each] == [0, 1]
        assert trial.value == pytest.approx(sum(each.val_accuracy or 0 for each in results if each) / 2)
        accuracies = [row["val/accuracy"] for row in runs[1].read_metrics()]
        means = [((results[0].val_accuracy or 0) + accuracy) / 2 for accuracy in accuracies if results[0]]
        assert list(trial.intermediate_values.values())[2:] == pytest.approx(means, abs=1e-6)
        assert list(trial.intermediate_values) == [1, 2, 3, 4]
    board = rank(tmp_path / "search")
    assert [len(row.jobs) for row in board.rows] == [2, 2]
    assert [job.name for job in board.rows[0].jobs] == (["0", "1"] if study.best_trial.number == 0 else ["2", "3"])

    cfg = SearchConfig(space=SPACE, trials=2, seeds=2)
    words = [*[word for word in TINY if "batch_size" not in word and ".lr" not in word], f"data.root={tiny_mnist}"]
    fresh = best_trial.train_winner(study, cfg, words, tmp_path / "search")
    assert [each.seed for each in fresh] == [2, 3]
    text = best_trial.fresh_text(study, 2, fresh)
    assert f"validation {100 * study.best_value:.2f} % with the 2 seeds that chose it" in text
    monkeypatch.setattr(training, "_train", None)  # nothing is trained again
    assert best_trial.train_winner(study, cfg, words, tmp_path / "search") == fresh
    assert [len(row.jobs) for row in rank(tmp_path / "search").rows] == [2, 2]  # the fresh runs are not part of it


@pytest.mark.slow
def test_a_trial_of_several_seeds_resumes_after_each_training(
    run_search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after each training, the search ends like an uninterrupted one."""
    whole = run_search(trials=2, seeds=2, name="whole")
    train = training.train

    def stop(*args: Any, **kwargs: Any) -> Any:
        train(*args, **kwargs)
        raise KeyboardInterrupt

    for _ in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(training, "train", stop)
            with pytest.raises(KeyboardInterrupt):
                run_search(trials=2, seeds=2, name="cut")
    assert summary(run_search(trials=2, seeds=2, name="cut")) == summary(whole)


@pytest.mark.slow
def test_a_later_seed_that_falls_behind_ends_its_trial(
    run_search: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first seed is fine, the second one is pruned, and the third one does not start."""
    report = Report.on_validation_end

    def prune_later_seeds(self: Report, trainer: Any, module: Any) -> None:
        if self.trial.number and self.before:
            raise optuna.TrialPruned
        report(self, trainer, module)

    monkeypatch.setattr(Report, "on_validation_end", prune_later_seeds)
    study = run_search(trials=2, seeds=3)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "PRUNED"]
    assert Run(tmp_path / "search/3").results
    assert Run(tmp_path / "search/4").state().startswith("pruned: given up after epoch 0 with seed=1, at ")
    assert not (tmp_path / "search/5").exists()
    board = rank(tmp_path / "search")
    assert board.failures == 0
    assert [len(row.jobs) for row in board.ranked] == [3]  # the pruned trial has no rank, however good its first seed
    assert int(board.best().name) < 3


def test_a_search_refuses_another_number_of_seeds(tmp_path: Path) -> None:
    search._claim(SearchConfig(space=SPACE, seeds=2), [], tmp_path)
    search._claim(SearchConfig(space=SPACE, seeds=2, trials=9), [], tmp_path)
    with pytest.raises(UserError, match="holds another search, with seeds=2 instead of 3"):
        search._claim(SearchConfig(space=SPACE, seeds=3), [], tmp_path)


def test_the_seeds_of_a_trial_and_the_numbers_of_its_runs(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("space: {seed: [0, 1]}\nseeds: 2\n")
    with pytest.raises(UserError, match="seed is in the space"):
        search.read(file)
    assert trainings_of(["seed=7", "a=1"], 2, [7, 8]) == {4: ["a=1", "seed=7"], 5: ["a=1", "seed=8"]}
    assert trainings_of(["a=1"], 2, []) == {2: ["a=1"]}
    assert seeds_of(SearchConfig(seeds=3), ["seed=7"]) == [7, 8, 9]
