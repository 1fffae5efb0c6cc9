"""The commands as users run them: trainings, sweeps, repeated runs, interruptions."""

import contextlib
import functools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from digits import signals
from digits.cli import train as command
from digits.runs.run import Run
from digits.signals import deferred, exit_codes, forward_to_scheduler
from digits.sweeps import job_processes, plan, sweep
from digits.training import train as training
from digits.training.train import train

from ..helpers import (
    QUICK,
    ROOT,
    RUN_FILES,
    TINY,
    TRAIN,
    Forked,
    call_main,
    environment,
    gpus,
    output_to,
    restored,
    results_of,
    run,
    run_cold,
    wait_for,
    wait_for_text,
)


@pytest.fixture
def call(tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that calls the command in this process, on tiny MNIST in a new folder, and returns its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, before=TINY: call_main(command.main, ["train.py", *before, *words])


@pytest.mark.slow
def test_a_sweep_ends_with_its_leaderboard(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("-m", "optimizer.lr=0.1,0.01,0.0001", "hydra.sweep.dir=sweep") == 0
    jobs = [yaml.safe_load((tmp_path / f"sweep/{job}/config.yaml").read_text()) for job in range(3)]
    assert [job["optimizer"]["lr"] for job in jobs] == [0.1, 0.01, 0.0001]
    assert all(results_of(tmp_path / f"sweep/{job}")["status"] == "finished" for job in range(3))
    out = capsys.readouterr().out
    assert "Leaderboard" in out
    assert "optimizer.lr" in out
    assert len((tmp_path / "sweep/leaderboard.csv").read_text().splitlines()) == 4
    assert (tmp_path / "sweep/leaderboard.md").exists()


@pytest.mark.slow
def test_a_failed_job_is_a_leaderboard_row_and_the_others_run(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "optimizer=sgd", "scheduler=none", "optimizer.lr=1e30,0.01", "hydra.sweep.dir=sweep"]
    assert call(*words) == 1
    rows = (tmp_path / "sweep/leaderboard.csv").read_text().splitlines()
    assert "0.01" in rows[1]
    assert rows[1].endswith("finished")
    assert "failed: the loss is" in rows[2]
    assert results_of(tmp_path / "sweep/0")["status"] == "failed"
    assert "1 of 2 jobs have no result" in capsys.readouterr().out


@pytest.mark.slow
def test_another_sweep_in_the_same_directory_is_refused_without_changes(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*.*") if path.is_file()}
    assert len(before) > 10
    capsys.readouterr()
    assert call("-m", "seed=7,8", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 2
    assert "sweep/0 holds a run of another configuration: seed is 0 there and 7 here" in capsys.readouterr().err
    for path, content in before.items():
        assert path.read_bytes() == content, path


@pytest.mark.slow
def test_a_started_sweep_keeps_its_planned_jobs_and_may_get_more(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 0
    shutil.rmtree(tmp_path / "sweep/1")
    before = (tmp_path / "sweep/sweep.json").read_bytes()
    for words, message in (
        (["seed=0"], "sweep holds a sweep of 2 jobs, not of 1"),
        (["seed=0,2"], "sweep holds another sweep, whose job 1 has seed=1"),
        (["seed=0,1", "label_smoothing=0"], "whose job 1 does not set label_smoothing"),
    ):
        assert call("-m", *words, "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 2
        assert message in capsys.readouterr().err
        assert (tmp_path / "sweep/sweep.json").read_bytes() == before
    assert call("-m", "seed=0,1,2", "trainer.max_epochs=1", "tags=[more]", "hydra.sweep.dir=sweep") == 0
    assert len(plan.read(tmp_path / "sweep")) == 3


@pytest.mark.slow
def test_a_glob_in_a_sweep_selects_the_matching_models(call: Callable[..., int], tmp_path: Path) -> None:
    assert call("-m", "model=glob([a*,b*])", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 0
    assert [words["model"] for words in plan.read(tmp_path / "sweep").values()] == ["article"]


@pytest.mark.parametrize(("asked", "expected"), [(-1, 4), (-2, 3), (-9, 1), (1, 1), (7, 7)])
def test_how_many_jobs_joblib_runs_at_once(asked: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_processes, "jobs_at_once", lambda jobs, accelerator, processes: 8 // processes)
    config = OmegaConf.create({"hydra": {"launcher": {"n_jobs": asked}}, "trainer": {"accelerator": "cpu"}})
    assert sweep.at_once(config, 9, processes=2) == expected


def test_the_time_left_counts_only_jobs_without_a_result(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of four jobs has finished before; each of the others takes a minute."""
    callback, clock = sweep.Sweep(), [0.0]
    callback.jobs, callback._open = [[], [], [], []], [1, 2, 3]
    monkeypatch.setattr("time.monotonic", lambda: callback._began + clock[0])
    job = OmegaConf.create({"hydra": {"job": {"num": 0}, "overrides": {"task": []}}})
    with caplog.at_level(logging.INFO):
        for number, clock[0] in enumerate((0.0, 0.0, 60.0, 120.0)):
            job.hydra.job.num = number
            callback.on_job_start(job)
    left = ["", "", ", about 2 min 00 s left", ", about 1 min 00 s left"]
    assert caplog.messages == [f"\nJob {number} of 4{text}" for number, text in enumerate(left, start=1)]


def test_zero_parallel_jobs_are_refused(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "hydra.sweep.dir=sweep") == 2
    assert "hydra.launcher.n_jobs=0 runs nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_an_impossible_job_is_a_row_with_its_error_message(call: Callable[..., int], tmp_path: Path) -> None:
    assert call("-m", "data.val_size=40,240", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 1
    rows = (tmp_path / "sweep/leaderboard.csv").read_text().splitlines()
    assert "failed: data.val_size=240 leaves nothing of 240 images to train on" in rows[2]


@pytest.mark.slow
def test_a_damaged_results_file_is_reported_in_its_row(call: Callable[..., int], tmp_path: Path) -> None:
    call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    (tmp_path / "sweep/0/results.json").write_text("{")
    assert call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 1
    rows = (tmp_path / "sweep/leaderboard.csv").read_text().splitlines()
    assert "finished" in rows[1]
    assert "is not a file that a run writes" in rows[2]
    assert (tmp_path / "sweep/0/results.json").read_text() == "{"


@pytest.mark.slow
def test_a_sweep_whose_leaderboard_cannot_be_written_exits_with_2(call: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "sweep/leaderboard.csv").mkdir(parents=True)
    assert call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep") == 2


@pytest.mark.slow
def test_repeating_a_sweep_trains_only_jobs_without_a_result(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep"]
    call(*words)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/results.json")}
    (tmp_path / "sweep/1/results.json").unlink()
    capsys.readouterr()
    assert call(*words) == 0
    assert (tmp_path / "sweep/0/results.json").stat().st_mtime_ns == before[tmp_path / "sweep/0/results.json"]
    assert capsys.readouterr().out.count("Finished before") == 1
    assert results_of(tmp_path / "sweep/1")["status"] == "finished"


@pytest.mark.slow
def test_a_sweep_in_an_experiment_needs_no_multirun_flag(call: Callable[..., int], tmp_path: Path) -> None:
    words = ["experiment=lr_sweep", "trainer.max_epochs=1", "optimizer.lr=0.1,0.01", "hydra.sweep.dir=sweep"]
    assert call(*words) == 0
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 2


@pytest.mark.slow
def test_the_comparison_of_networks_with_and_without_convolution(call: Callable[..., int], tmp_path: Path) -> None:
    words = ["experiment=cnn_vs_mlp", "model=mlp,strided", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep"]
    assert call(*words, before=[word for word in TINY if not word.startswith("model")]) == 0
    rows = json.loads((tmp_path / "sweep/leaderboard.json").read_text())["rows"]
    found = {
        row["settings"]["model"]: [row["n"], row["parameters"]["mean"], row["multiply_adds"]["mean"]] for row in rows
    }
    assert found == {"mlp": [2, 3_197_830, 3_194_952], "strided": [2, 25_418, 421_056]}
    assert all(0 < row["train_accuracy"]["mean"] <= 1 for row in rows)
    assert (tmp_path / "sweep/overfitting.png").exists()


@pytest.mark.slow
def test_default_directories_differ_from_run_to_run(call: Callable[..., int], tmp_path: Path) -> None:
    for _ in range(2):
        assert call("trainer.max_epochs=1") == 0
    runs = [path.parent for path in tmp_path.glob("outputs/*/*/results.json")]
    assert len(runs) == 2
    for path in runs:
        names = {file.name for file in path.iterdir()}
        assert names == {*RUN_FILES, "train.log", ".hydra"}


def test_another_configuration_in_the_same_directory_exits_with_2(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("hydra.run.dir=here", "trainer.max_epochs=1") == 0
    assert call("hydra.run.dir=here", "trainer.max_epochs=1", "seed=5") == 2
    assert "seed is 0 there and 5 here" in capsys.readouterr().err
    assert results_of(tmp_path / "here")["status"] == "finished"


def test_a_failure_exits_with_1_without_a_traceback(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("hydra.run.dir=here", "optimizer=sgd", "optimizer.lr=1e30", "scheduler=none") == 1
    err = capsys.readouterr().err
    assert err.startswith("Failed: the loss is")
    assert "Traceback" not in err
    assert results_of(tmp_path / "here") == {"status": "failed", "error": err.removeprefix("Failed: ").strip()}


@pytest.mark.slow
def test_a_run_from_another_folder_and_its_repetition_without_torch(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = run_cold(TRAIN, *QUICK, "hydra.run.dir=here", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first = (tmp_path / "elsewhere/here/results.json").read_bytes()
    content = results_of(tmp_path / "elsewhere/here")
    assert content["dataset"]["name"] == "mnist-sample-5k"
    assert float(content["train_seconds"]) < float(content["wall_seconds"])
    assert "A SAMPLE" in done.stdout
    assert "\x1b" not in done.stdout  # plain lines in a pipe
    log = (tmp_path / "elsewhere/here/train.log").read_text()
    assert "Test accuracy" in log

    # A repetition prints the same result without importing torch.
    blocked = tmp_path / "blocked" / "torch"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise SystemError('imported too early')")
    env = {"PYTHONPATH": str(tmp_path / "blocked")}
    second = run_cold(TRAIN, *QUICK, "hydra.run.dir=here", cwd=tmp_path / "elsewhere", **env)
    assert second.returncode == 0, second.stderr
    assert "Finished before" in second.stdout
    assert (tmp_path / "elsewhere/here/results.json").read_bytes() == first


def test_less_than_one_batch_per_epoch_is_refused(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("trainer.limit_train_batches=0.001", "hydra.run.dir=run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Try at least `limit_train_batches=" in line


@pytest.mark.slow
def test_without_a_log_the_result_is_printed(tmp_path: Path) -> None:
    done = run(TRAIN, *QUICK, "hydra/job_logging=none", "hydra.run.dir=run", cwd=tmp_path)
    assert re.fullmatch(r"Test accuracy \d+\.\d\d %, in .*run\n", done.stdout)


def test_a_run_in_the_working_directory_lists_its_own_files(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/photo.txt").touch()
    assert call("hydra.run.dir=.") == 0
    out = capsys.readouterr().out
    assert "photo.txt" not in out
    assert "checkpoints/best.ckpt" in out


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_a_missing_gpu_exits_with_2(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("trainer.accelerator=gpu") == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "trainer.accelerator=cpu" in err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_says_how_to_resume(number: signal.Signals, code: int, tmp_path: Path) -> None:
    words = [word for word in QUICK if "limit" not in word]
    here = tmp_path / "here, lr=0.1"
    process = Forked(TRAIN, *words, "trainer.max_epochs=1000", "hydra.run.dir='here, lr=0.1'", cwd=tmp_path)
    wait_for(here / "checkpoints/last.ckpt", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    program, *typed = shlex.split(err.partition("To resume: ")[2])
    assert (program, typed[0]) == ("python", TRAIN)
    assert not (here / "results.json").exists()
    assert torch.load(here / "checkpoints/last.ckpt", weights_only=True)["epoch"] >= 0
    process = Forked(*typed, cwd=tmp_path)  # the command that was printed
    wait_for_text(here / "train.log", "Continuing from", process)
    process.send_signal(number)
    assert process.wait(60) == code
    assert [path.name for path in tmp_path.iterdir()] == [here.name]


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_is_not_a_failure(tmp_path: Path) -> None:
    """In a cold process, which flushes its buffers at exit, as a user's process does."""
    line = shlex.join([sys.executable, TRAIN, *QUICK, "trainer.max_epochs=1", "hydra.run.dir=here"])
    words = ["bash", "-c", f"{line} | head -1; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert results_of(tmp_path / "here")["status"] == "finished"


def test_an_interruption_swallowed_by_a_destructor(capsys: pytest.CaptureFixture[str]) -> None:
    """Python only prints an exception that ``__del__`` raises, and continues."""

    class InterruptedOnDeletion:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def main() -> None:
        InterruptedOnDeletion()
        with exit_codes():
            print("not reached")

    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        main()
    assert ended.value.code == 143
    assert capsys.readouterr() == ("", "\nInterrupted.\n")


def test_an_interruption_swallowed_before_an_exit(capsys: pytest.CaptureFixture[str]) -> None:
    """A command-line parser, too, ends its commands with ``sys.exit``."""

    def swallow() -> None:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        sys.exit(0)

    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        swallow()
    assert ended.value.code == 143
    assert capsys.readouterr().err == "\nInterrupted.\n"


def test_a_training_does_not_start_after_a_swallowed_interruption(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    def swallow() -> None:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        train(tiny(), tmp_path)

    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        swallow()
    assert ended.value.code == 130
    assert not Run(tmp_path).last.exists()


def test_an_interruption_hidden_by_another_error_still_counts(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted_with_error() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise AttributeError("an error in the cleanup")

    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        interrupted_with_error()
    assert ended.value.code == 143
    assert capsys.readouterr().err == "\nInterrupted.\n"


def submit_again(*args: object) -> None:
    """What submitit's signal handler does, in short."""
    sys.exit(144)


def interrupted_by_a_scheduler(*args: object, **others: object) -> None:
    """Receive a scheduler's signal, whose exception another error hides."""
    try:
        signal.raise_signal(signal.SIGUSR2)
    finally:
        raise AttributeError("an error in the cleanup")


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_schedulers_signal_hidden_by_another_error_still_counts(swallowed: bool) -> None:
    with restored():
        signal.signal(signal.SIGUSR2, submit_again)
        swallow = contextlib.suppress(BaseException) if swallowed else contextlib.nullcontext()
        with pytest.raises(SystemExit, match="144"), forward_to_scheduler(), swallow:
            interrupted_by_a_scheduler()
        assert signal.getsignal(signal.SIGUSR2) is submit_again


def test_a_schedulers_signal_waits_for_the_end_of_a_deferred_block() -> None:
    done = []
    with restored():
        signal.signal(signal.SIGUSR2, submit_again)
        with pytest.raises(SystemExit, match="144"), forward_to_scheduler(), deferred():
            done.append(signal.raise_signal(signal.SIGUSR2))
    assert done


def test_other_signals_do_not_keep_a_job_from_being_resubmitted() -> None:
    """Slurm also sends SIGTERM."""
    done = []

    def submit_again_slowly(*args: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append(True)
        submit_again()

    def interrupt_twice() -> None:
        try:
            signal.raise_signal(signal.SIGUSR2)
        finally:
            signal.raise_signal(signal.SIGINT)

    with restored():
        signals.install_handlers()
        signal.signal(signal.SIGUSR2, submit_again_slowly)
        with pytest.raises(SystemExit, match="144"), forward_to_scheduler():
            interrupt_twice()
    assert done


def test_other_processes_of_a_resubmitted_job_wait_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(signals.time, "sleep", waited.append)
    with restored():
        signal.signal(signal.SIGUSR2, lambda *args: None)
        with pytest.raises(signals.Interrupted), forward_to_scheduler():
            interrupted_by_a_scheduler()
    assert waited == [signals.REQUEUE_SECONDS]


def test_a_job_that_a_scheduler_interrupts_has_not_failed(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_fit", interrupted_by_a_scheduler)
    with restored():
        signal.signal(signal.SIGUSR2, submit_again)
        assert call("hydra.run.dir=run") == 144
    assert not Run(tmp_path / "run").results_file.exists()


@pytest.mark.slow
def test_jobs_that_time_out_too_often_are_reported_as_failed(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse_to_requeue(*args: object) -> None:
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    monkeypatch.setattr(training, "_fit", interrupted_by_a_scheduler)
    with restored():
        signal.signal(signal.SIGUSR2, refuse_to_requeue)
        assert call("-m", "seed=0,1", "hydra.sweep.dir=sweep") == 1
    assert "2 of 2 jobs have no result" in capsys.readouterr().out
    assert Run(tmp_path / "sweep/1").state() == "failed: Job not requeued because: timed-out too many times."


def test_a_second_signal_is_ignored_during_the_cleanup() -> None:
    program = """
import signal
from digits.signals import exit_codes
with exit_codes():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)
        print("in order")
"""
    done = run_cold("-c", program, cwd=ROOT)
    assert (done.returncode, done.stdout) == (130, "in order\n")


def test_digits_data_refuses_unofficial_files_and_keeps_them(tiny_mnist: Path, tmp_path: Path) -> None:
    """A new process lacks the fixture's patches, so it takes the tiny files for damaged ones."""
    before = {path: path.read_bytes() for path in tiny_mnist.iterdir()}
    done = run_cold("-m", "digits", "data", "--root", str(tiny_mnist), "--mirror", "http://127.0.0.1:9/", cwd=tmp_path)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_digits_data_without_files_or_mirrors_exits_with_1(tmp_path: Path) -> None:
    done = run_cold("-m", "digits", "data", "--root", "new", "--mirror", "http://127.0.0.1:9/", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Failed: no mirror delivered train-images-idx3-ubyte.gz (http://127.0.0.1:9/train-images"
    )


@pytest.mark.mnist
def test_digits_data_verifies_the_official_files(mnist_root: Path, tmp_path: Path) -> None:
    done = run_cold("-m", "digits", "data", "--root", str(mnist_root), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("verified") == 4
    assert "60,000 images of 28×28" in done.stdout


@pytest.mark.slow
def test_digits_leaderboard_writes_its_files_again(call: Callable[..., int], tmp_path: Path) -> None:
    call("-m", "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    (tmp_path / "sweep/leaderboard.md").unlink()
    done = run("-m", "digits", "leaderboard", "sweep", cwd=tmp_path)
    assert done.returncode == 0
    assert "Leaderboard" in done.stdout
    assert (tmp_path / "sweep/leaderboard.md").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    import pty

    main, side = pty.openpty()
    process = Forked(
        TRAIN,
        *QUICK,
        "hydra.run.dir=here",
        cwd=tmp_path,
        prepared=functools.partial(output_to, os.ttyname(side)),
        TERM="xterm",
        COLUMNS="150",
    )
    wait_for(tmp_path / "here", process)  # by then, the process has opened the terminal
    os.close(side)
    shown = b""
    try:
        while piece := os.read(main, 65_536):
            shown += piece
    except OSError:
        pass  # on Linux, reading fails once the process has closed the terminal
    os.close(main)
    assert process.wait(60) == 0
    assert "Epoch 2/2" in shown.decode()
    assert "━" in shown.decode()
    assert "Test accuracy" in shown.decode()
