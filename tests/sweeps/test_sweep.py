"""Interrupted and parallel sweeps: they end with the same leaderboard as one job after the other."""

import functools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import joblib
import pytest

from digits.errors import UserError
from digits.runs.run import Run
from digits.sweeps import job_processes
from digits.sweeps.progress import Progress

from ..helpers import QUICK, TRAIN, Forked, children, environment, run, run_cold, start_cold, wait_for

ONE_EPOCH = ["-m", *QUICK, "trainer.max_epochs=1", "model.head.dropout=0.3"]
FOUR_JOBS = [*ONE_EPOCH, "optimizer.lr=0.01,0.001", "seed=0,1"]
TWO_JOBS = [*ONE_EPOCH, "optimizer.lr=0.01", "seed=0,1"]
JOBLIB, LOCAL = "hydra/launcher=joblib", "hydra/launcher=processes"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # in every process: the order of sums depends on the number of threads

Board = list[dict[str, Any]]


def board(sweep: Path) -> Board:
    """The rows of a sweep's leaderboard, without the training times."""
    rows: Board = json.loads((sweep / "leaderboard.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Board]:
    """A function that returns the leaderboard of an uninterrupted sweep, which runs once for the tests of a process."""

    @functools.cache
    def uncut(*words: str) -> Board:
        folder = tmp_path_factory.mktemp("uncut")
        done = run(TRAIN, *words, "hydra.sweep.dir=whole", cwd=folder, **ONE_THREAD)
        assert done.returncode == 0, done.stderr
        return board(folder / "whole")

    return uncut


@pytest.mark.slow
def test_a_repeatedly_killed_sweep_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    started = time.monotonic()
    done = run(TRAIN, *FOUR_JOBS, "hydra.sweep.dir=whole", cwd=tmp_path)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert re.search(r"\nJob 4 of 4, about [\d.]+ s left: optimizer.lr=0.001 seed=1\n", done.stdout)
    expected, killed = board(tmp_path / "whole"), 0
    assert len(expected) == 2
    wanted = int(os.environ.get("SWEEP_CUTS", "3"))
    while killed < wanted:
        process = Forked(TRAIN, *FOUR_JOBS, "hydra.sweep.dir=cut", cwd=tmp_path)
        try:
            process.wait(rng.uniform(0.1, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            assert board(tmp_path / "cut") == expected
            shutil.rmtree(tmp_path / "cut")
    assert run(TRAIN, *FOUR_JOBS, "hydra.sweep.dir=cut", cwd=tmp_path).returncode == 0
    assert board(tmp_path / "cut") == expected


@pytest.mark.slow
def test_a_killed_job_resumes_from_its_checkpoint(tmp_path: Path, uncut: Callable[..., Board]) -> None:
    words = [*TWO_JOBS, "trainer.limit_train_batches=1.0", "callbacks.checkpoint.every_n_steps=1"]
    process = Forked(TRAIN, *words, "hydra.sweep.dir=cut", cwd=tmp_path, **ONE_THREAD)
    wait_for(tmp_path / "cut/1/checkpoints/last.ckpt", process)
    process.kill()
    process.wait()
    assert not (tmp_path / "cut/1/results.json").exists()
    assert run(TRAIN, *words, "hydra.sweep.dir=cut", cwd=tmp_path, **ONE_THREAD).returncode == 0
    assert "Continuing from" in (tmp_path / "cut/1/train.log").read_text()
    assert board(tmp_path / "cut") == uncut(*words)


@pytest.mark.linux
@pytest.mark.long
def test_a_sweep_waits_for_jobs_that_outlived_the_killed_one(tmp_path: Path) -> None:
    """Submitit's jobs survive their sweep. The same command waits for them, and ends with their results."""
    words = [*TWO_JOBS, LOCAL, "trainer.limit_train_batches=1.0", "trainer.max_epochs=9", "hydra.sweep.dir=cut"]
    process = start_cold(TRAIN, *words, cwd=tmp_path)
    for job in range(2):
        wait_for(tmp_path / f"cut/{job}/config.yaml", process)
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()
    survivors = jobs_in(tmp_path)
    assert len(survivors) >= 2
    for pid in survivors:
        os.kill(pid, signal.SIGSTOP)
    second = start_cold(TRAIN, *words, cwd=tmp_path)
    logs = [tmp_path / f"cut/{job}/train.log" for job in range(2)]
    while not all("Another process is training in" in file.read_text() for file in logs):
        assert second.poll() is None
        time.sleep(0.1)
    for pid in survivors:
        os.kill(pid, signal.SIGCONT)
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0, out
    assert [row["status"] for row in board(tmp_path / "cut")] == ["finished"]
    assert not any("Continuing from" in file.read_text() for file in logs)


@pytest.mark.parametrize(
    "launcher", [pytest.param(JOBLIB, marks=pytest.mark.slow), pytest.param(LOCAL, marks=pytest.mark.long)]
)
def test_parallel_jobs_give_the_same_leaderboard(launcher: str, tmp_path: Path) -> None:
    words = [*ONE_EPOCH, "optimizer.lr=0.01,1e30,0.001", "seed=0", "optimizer=sgd", "scheduler=none"]
    one_by_one = run(TRAIN, *words, "hydra.sweep.dir=a", cwd=tmp_path, **ONE_THREAD)
    together = run_cold(TRAIN, *words, launcher, "hydra.sweep.dir=b", cwd=tmp_path, **ONE_THREAD)
    assert one_by_one.returncode == together.returncode == 1  # because one learning rate diverges
    assert board(tmp_path / "a") == board(tmp_path / "b")
    assert "Traceback" not in together.stderr
    assert "loss of the batch" not in together.stdout  # the lines of parallel jobs would mix
    lines = [line for line in together.stdout.splitlines() if line.startswith("Job ")]
    assert len(lines) == 3
    assert sum("failed: the loss is" in line for line in lines) == 1
    assert lines[-1].endswith("3 done")
    assert all("s left" in line for line in lines[:-1])
    second = run(TRAIN, *words, "hydra.sweep.dir=b", cwd=tmp_path, **ONE_THREAD)
    assert second.returncode == 1
    assert second.stdout.count("Finished before") == 2
    assert board(tmp_path / "a") == board(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_parallel_jobs_can_be_resumed(
    number: signal.Signals, code: int, tmp_path: Path, uncut: Callable[..., Board]
) -> None:
    words = [*TWO_JOBS, "trainer.limit_train_batches=1.0", "trainer.max_epochs=3"]
    process = start_cold(TRAIN, *words, JOBLIB, "hydra.sweep.dir=cut", cwd=tmp_path, **ONE_THREAD)
    wait_for(tmp_path / "cut/0/checkpoints/last.ckpt", process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)  # returns when the last job, too, has closed the pipe
    assert process.returncode == code
    assert "Traceback" not in output
    if number != signal.SIGKILL:
        assert "Interrupted. To resume: python" in output
    done = run(TRAIN, *words, "hydra.sweep.dir=cut", cwd=tmp_path, **ONE_THREAD)  # one by one, which is faster here
    assert done.returncode == 0, done.stderr
    assert board(tmp_path / "cut") == uncut(*words)


@pytest.mark.linux
@pytest.mark.slow
def test_a_job_that_runs_out_of_time_is_resubmitted_and_resumes(tmp_path: Path, uncut: Callable[..., Board]) -> None:
    """At submitit's signal, the job saves itself; then submitit, or Slurm, submits it again."""
    words = [*ONE_EPOCH, "seed=0", "trainer.limit_train_batches=1.0", "trainer.max_epochs=6"]
    process = start_cold(TRAIN, *words, LOCAL, "hydra.sweep.dir=cut", cwd=tmp_path, **ONE_THREAD)
    wait_for(tmp_path / "cut/0/checkpoints/last.ckpt", process)
    pids = jobs_in(tmp_path)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    log = (tmp_path / "cut/0/train.log").read_text()
    saved = re.search(r"Saved at step (\d+)", log)
    assert saved
    assert "Continuing from" in log[saved.end() :]
    assert board(tmp_path / "cut") == uncut(*words)


def jobs_in(folder: Path) -> list[int]:
    """The processes that submitit has started for the jobs of a sweep in a folder."""
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _is_job(pid, folder)]


def _is_job(pid: int, folder: Path) -> bool:
    """Whether submitit has started a process for a job of a sweep in a folder."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"submitit.core._submit" in command and os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False


@pytest.mark.linux
@pytest.mark.parametrize(
    "launcher", [pytest.param(JOBLIB, marks=pytest.mark.slow), pytest.param(LOCAL, marks=pytest.mark.long)]
)
def test_a_killed_job_ends_its_sweep_which_can_be_resumed(
    launcher: str, tmp_path: Path, uncut: Callable[..., Board]
) -> None:
    whole = [*TWO_JOBS, "trainer.limit_train_batches=1.0"]
    words = [*whole, "hydra.sweep.dir=cut"]
    process = start_cold(TRAIN, *words, launcher, cwd=tmp_path, **ONE_THREAD)
    wait_for(tmp_path / "cut/0/config.yaml", process)
    if launcher == JOBLIB:
        workers = [pid for pid in children(process.pid) if b"loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    else:
        workers = jobs_in(tmp_path)
    os.kill(workers[-1], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    why = (
        "'s process was killed, perhaps because memory ran out"
        if launcher == JOBLIB
        else " ended without a result: Job "
    )
    assert re.search(rf"Failed: a job{why}.*\. To resume: python", output), output
    assert "Traceback" not in output
    second = run_cold(TRAIN, *words, launcher, cwd=tmp_path, **ONE_THREAD)
    assert second.returncode == 0, second.stderr
    lines = [line for line in second.stdout.splitlines() if line.startswith("Job ")]
    assert 1 <= len(lines) <= 2  # only those without a result
    assert lines[-1].endswith("2 done")
    assert board(tmp_path / "cut") == uncut(*whole)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("srun") is not None, reason="there is Slurm")
def test_a_missing_slurm_is_reported(tmp_path: Path) -> None:
    done = run(TRAIN, *TWO_JOBS, "hydra/launcher=slurm", "hydra.sweep.dir=here", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "Error: hydra/launcher=slurm: there is no Slurm on this machine (srun).\n"


@pytest.mark.slow
def test_joblib_with_one_job_at_a_time_starts_no_other_process(tmp_path: Path) -> None:
    """The jobs run in the sweep's own process, so their lines do not mix, and the screen shows them."""
    done = run(TRAIN, *TWO_JOBS, JOBLIB, "hydra.launcher.n_jobs=1", "hydra.sweep.dir=here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Test accuracy") == 2


@pytest.mark.slow
def test_parallel_jobs_share_the_cores_and_write_to_all_loggers(tmp_path: Path) -> None:
    (tmp_path / "conf/logger").mkdir(parents=True)
    (tmp_path / "conf/logger/all.yaml").write_text("defaults: [tensorboard, wandb, mlflow]\n")
    words = ["--config-dir=conf", *TWO_JOBS, "logger=all", "notes='as it was'", "hydra.sweep.dir=here"]
    at_once = [sys.executable, TRAIN, *words, JOBLIB, "hydra.launcher.n_jobs=2", "tags=[first]"]
    env = {key: value for key, value in environment(WANDB_MODE="offline").items() if key != "OMP_NUM_THREADS"}
    with subprocess.Popen(at_once, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()  # nobody reads on, and the sweep must still succeed
        assert process.wait(300) == 0
    assert (tmp_path / "here/leaderboard.md").exists()
    runs = [Run(tmp_path / f"here/{job}") for job in range(2)]
    for run_ in runs:
        results = run_.results
        assert results
        assert results.hardware["threads"] == max(1, joblib.cpu_count() // 2)
        assert list((run_.path / "wandb").glob("offline-run-*/*.wandb"))
        assert list((run_.path / "tensorboard").glob("events.*"))
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        accuracies = database.execute("select value from latest_metrics where key = 'val/accuracy'").fetchall()
        tags = dict(database.execute("select key, value from tags").fetchall())
    written = [run_.read_metrics()[-1]["val/accuracy"] for run_ in runs]
    assert sorted(value for (value,) in accuracies) == pytest.approx(sorted(written))
    assert tags["mlflow.note.content"] == "as it was"
    assert "first" in tags
    second = run(TRAIN, *words, "tags=[second]", cwd=tmp_path, WANDB_MODE="offline")
    assert second.returncode == 0, second.stderr  # tags may change: they do not change the result
    assert second.stdout.count("Finished before") == 2


@pytest.mark.parametrize(
    ("jobs", "gpus", "cores", "gigabytes", "at_once"),
    [(9, 0, 4, 64, 4), (3, 0, 4, 64, 3), (9, 0, 64, 7, 3), (9, 2, 64, 64, 2), (1, 8, 64, 64, 1), (9, 0, 4, 1, 1)],
)
def test_the_number_of_parallel_jobs_fits_the_machine(
    jobs: int, gpus: int, cores: int, gigabytes: float, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_processes, "CONTAINER_MEMORY", tmp_path / "memory.max")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": gigabytes * 1e9 / 4096, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert job_processes.jobs_at_once(jobs) == at_once
    if gpus:
        assert job_processes.jobs_at_once(jobs, "cpu") == min(jobs, cores, int(gigabytes // 2))
    assert job_processes.jobs_at_once(jobs, "cpu", processes=2) == max(
        1, min(jobs, min(cores, int(gigabytes // 2)) // 2)
    )
    (tmp_path / "memory.max").write_text("max\n")
    assert job_processes.jobs_at_once(jobs) == at_once
    (tmp_path / "memory.max").write_text("4000000000\n")  # a container's limit, in bytes
    assert job_processes.jobs_at_once(jobs, "cpu") == max(1, min(jobs, cores, int(gigabytes // 2), 2))


def test_a_retried_job_is_reported_only_when_it_ends_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While it trains again, its results file does not exist."""
    runs = [Run(tmp_path / name) for name in "ab"]
    for run_ in runs:
        run_.path.mkdir()
        run_.write_failure(ValueError("the loss is nan"))
    progress = Progress(["", "seed=1"], runs, open_jobs=[0, 1], at_once=2)
    runs[1].results_file.unlink()
    progress._look()
    assert capsys.readouterr().out == ""
    runs[1].write_failure(ValueError("again"))
    progress._look()
    assert capsys.readouterr().out.startswith("Job 2 of 2 (seed=1): failed: again; 1 done, about ")


@pytest.mark.parametrize(
    ("gpus", "accelerator", "devices", "refused"),
    [
        ("0,1", "auto", ["1", "2"], True),
        ("0,1", "gpu", ["[1]"], True),
        ("0,1", "gpu", ["1", "-1", "auto"], False),
        ("0,1", "cpu", ["2"], False),
        ("0", "gpu", ["2"], False),  # the training itself reports that there is only one
    ],
)
def test_parallel_jobs_that_choose_their_gpus_are_refused(
    gpus: str, accelerator: str, devices: list[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    with pytest.raises(UserError, match="leave out trainer.devices=") if refused else nullcontext():
        job_processes.check_one_gpu_each(accelerator, devices)


TAKE = """
import getpass, os, sys
getpass.getuser = lambda: 1 / 0  # in a container, a user may have no name
from digits.sweeps import job_processes
job_processes.take_a_gpu()
job_processes.take_a_gpu()  # for a second job
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


def test_each_job_gets_the_gpu_that_the_fewest_jobs_use(tmp_path: Path) -> None:
    def take(gpus: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpus, "TMPDIR": str(tmp_path)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        return process, process.stdout.readline().strip()

    jobs = [take("4,7") for _ in range(4)]
    assert [gpu for _, gpu in jobs] == ["4", "7", "4", "7"]
    jobs.append(take("3"))
    assert jobs[-1][1] == "3"
    for process, _ in jobs[1:]:
        process.communicate("")
    jobs[1:] = [take("4,7")]
    assert jobs[1][1] == "7"
    for process, _ in jobs[:2]:
        process.communicate("")


def test_gpus_are_listed_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: One (UUID: GPU-1)'\necho 'GPU 1: Two (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert job_processes._gpus() == ["0", "1"]
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_processes._gpus() == []
