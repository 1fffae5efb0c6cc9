"""How every command starts and ends: inherited streams, variables and signals, and the exit code."""

import builtins
import contextlib
import inspect
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digits import entry, processes, signals
from digits.cli import app
from digits.cli import train as training_command
from digits.runs.run import Run

from .helpers import QUICK, TINY, TRAIN, Forked, call_main, draw, restored, run, run_cold, wait_for

SEARCHED = [word for word in QUICK if not word.startswith("optimizer.lr")]  # the trials choose the learning rate

COMMANDS = {
    "train": ["train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=new"],
    "train.py": [*QUICK, "trainer.max_epochs=1", "hydra.run.dir=newer"],
    "sweep": ["-m", *QUICK, "trainer.max_epochs=1", "seed=0,1", "hydra.sweep.dir=sweep"],
    "evaluate": ["evaluate", "run"],
    "predict": ["predict", "run", "digit.png"],
    "explain": ["explain", "run", "--digit", "3"],
    "report": ["report", "run"],
    "draw": ["draw", "run"],
    "export": ["export", "run"],
    "leaderboard": ["leaderboard", "."],
    "search": ["search", "--trials", "1", "--output", "search", *SEARCHED, "trainer.max_epochs=1"],
    "runs": ["runs", "."],
    "data": ["data", "--root", "nowhere", "--mirror", "http://127.0.0.1:9"],
}
"""Each command, as a user types it in a folder with a run and a picture."""

WRITTEN = {
    "train": "new/results.json",
    "train.py": "newer/results.json",
    "sweep": "sweep/1/results.json",
    "evaluate": "run/evaluation.json",
    "explain": "run/explanation",
    "report": "run/report/index.html",
    "draw": "run/draw/index.html",
    "export": "run/model.onnx",
    "leaderboard": "leaderboard.csv",
    "search": "search/0/results.json",
}
"""A file or folder that the command writes."""

TRAINING = ("train.py", "sweep", "search", "evaluate")
"""Commands that depend on the processes around them. CI tests only these in the environments of schedulers."""

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"},
    "windows": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "cluster": {"RANK": "1", "LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "3"},
    "kubernetes": {
        "KUBERNETES_PORT": "tcp://10.0.0.1:443",
        "MASTER_ADDR": "10.0.0.2",
        "MASTER_PORT": "29500",
        "WORLD_SIZE": "2",
        "RANK": "1",
    },
    "lsf": {
        "LSB_JOBID": "7",
        "LSB_DJOB_RANKFILE": "/nowhere",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
        "JSM_NAMESPACE_SIZE": "2",
    },
    "allocation": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "1"},
}
SCHEDULERS = ("cluster", "kubernetes", "lsf", "allocation")
RARER_ENVIRONMENTS: dict[str, dict[str, str]] = {
    "mpi": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMI_RANK": "1", "PMI_SIZE": "4"},
    "pbs": {"PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBID": "7", "PBS_NODEFILE": "/nowhere", "NCPUS": "", "TASKID": "1"},
    "service": {"HOME": "/nowhere", "USER": "", "LANG": "", "TERM": "", "INVOCATION_ID": "7", "JOURNAL_STREAM": "8:9"},
    "ci": {"CI": "true", "GITHUB_ACTIONS": "true", "TERM": "dumb", "FORCE_COLOR": "1", "COLUMNS": "0", "TZ": "Mars"},
    "ide": {"PYCHARM_HOSTED": "1", "TERM_PROGRAM": "vscode", "TERM": "emacs", "COLUMNS": "many", "NO_COLOR": "1"},
    "container": {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void", "OMP_NUM_THREADS": "1", "HOME": "/"},
    "sagemaker": {"SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-2", "SM_NUM_GPUS": "0"},
}


def as_typed(name: str) -> list[str]:
    return [TRAIN, *COMMANDS[name]] if name in ("train.py", "sweep") else ["-m", "digits", *COMMANDS[name]]


def apply_io_encoding() -> None:
    """Apply PYTHONIOENCODING in a forked process, as Python does when it starts."""
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding=os.environ.get("PYTHONIOENCODING", "utf-8"), errors="strict")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "commands"),
    [
        *[(name, tuple(COMMANDS)) for name in ("notebook", "windows", "ascii")],
        *[(name, TRAINING) for name in SCHEDULERS],
        *[pytest.param(name, tuple(COMMANDS), marks=pytest.mark.long) for name in (*SCHEDULERS, *RARER_ENVIRONMENTS)],
    ],
)
def test_every_command_works_in_any_environment(
    name: str, commands: tuple[str, ...], sample_run: Path, tiny_mnist: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample_run, tmp_path / "run")
    (tmp_path / "run/evaluation.json").unlink()
    draw(tmp_path / "digit.png", 1700)
    for command in commands:
        variables = {**ENVIRONMENTS, **RARER_ENVIRONMENTS}[name]
        done = run(*as_typed(command), cwd=tmp_path, prepared=apply_io_encoding, **variables)
        if command == "data":  # no mirror answers
            assert (done.returncode, done.stdout) == (1, "")
            assert "no mirror delivered" in done.stderr
            continue
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        assert done.stdout, command
        if command in WRITTEN:
            assert (tmp_path / WRITTEN[command]).exists(), command


@pytest.mark.slow
def test_a_missing_matplotlib_backend_is_ignored(tmp_path: Path) -> None:
    """Starts cold, because matplotlib reads the variable when it is imported."""
    notebook = ENVIRONMENTS["notebook"]
    assert run_cold(TRAIN, *QUICK, "hydra.run.dir=run", cwd=tmp_path, **notebook).returncode == 0
    assert run_cold("-m", "digits", "explain", "run", "--digit", "3", cwd=tmp_path, **notebook).returncode == 0


@pytest.fixture
def ends_early(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes a command return before it does anything."""

    def replace(name: str) -> None:
        if name in ("train", "train.py", "sweep"):
            monkeypatch.setattr(training_command, "run_job", lambda cfg: None)
            monkeypatch.setattr("digits.sweeps.sweep.Sweep.on_multirun_end", lambda *args, **kwargs: None)
        else:
            (command,) = (each for each in app.app.registered_commands if each.callback.__name__ == name)
            original = command.callback

            def early(**kwargs: Any) -> None:
                return None

            early.__name__, early.__signature__ = name, inspect.signature(original)  # type: ignore[attr-defined]
            early.__annotations__ = original.__annotations__
            monkeypatch.setattr(command, "callback", early)

    return replace


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_ends_early_has_failed(
    name: str, ends_early: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ends_early(name)
    if name in ("train.py", "sweep"):
        code = call_main(training_command.main, [TRAIN, *COMMANDS[name]])
    else:
        code = call_main(app.main, ["digits", *COMMANDS[name]])
    assert code == 1
    assert "the command ended before it was done" in capsys.readouterr().err


def test_an_exit_without_a_code_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with restored(), pytest.raises(SystemExit) as ended, entry.command():
        sys.exit()
    assert ended.value.code == 1
    with restored(), pytest.raises(SystemExit) as ended, entry.command():
        sys.exit(0)
    assert ended.value.code == 0
    assert capsys.readouterr().err == "Failed: the command ended before it was done\n"


def test_printing_to_a_closed_or_ascii_stream_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", narrow)
    entry.open_streams()
    print("nobody reads this – 9")
    print("acht – 8", file=sys.stderr, flush=True)
    assert narrow.buffer.getvalue() == b"acht \\u2013 8\n"  # type: ignore[attr-defined]


def close_stdout() -> None:
    sys.stdout = None  # type: ignore[assignment]


@pytest.mark.slow
def test_a_training_succeeds_with_closed_standard_output(tmp_path: Path) -> None:
    words = [TRAIN, *QUICK, "hydra.run.dir=run"]
    done = run(*words, cwd=tmp_path, prepared=close_stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert Run(tmp_path / "run").results


def test_telemetry_is_off_unless_the_user_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in entry.NO_TELEMETRY:
        monkeypatch.delenv(name, raising=False)
    with restored(), contextlib.suppress(SystemExit), entry.command():
        assert {name: os.environ[name] for name in entry.NO_TELEMETRY} == entry.NO_TELEMETRY
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")  # the user's own setting
    with restored(), contextlib.suppress(SystemExit), entry.command():
        assert os.environ["WANDB_ERROR_REPORTING"] == "true"


def test_ranks_that_another_launcher_has_left_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENTS["cluster"], **ENVIRONMENTS["allocation"]}.items():
        monkeypatch.setenv(name, value)
    assert processes.is_first()  # also in a program that calls digits.train
    with restored():
        processes.forget_other_launchers()
        assert "RANK" not in os.environ
        assert "LOCAL_RANK" not in os.environ
        assert "SLURM_NTASKS" not in os.environ  # not started by srun
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_STEP_ID", "0")  # started by srun
    with restored():
        processes.forget_other_launchers()
        assert (os.environ["SLURM_PROCID"], os.environ["SLURM_NTASKS"]) == ("0", "1")
    monkeypatch.setenv(processes.LAUNCHER, str(os.getppid()))  # as in a process that Lightning starts
    with restored():
        processes.forget_other_launchers()
        assert os.environ["LOCAL_RANK"] == "1"
        assert not processes.is_first()


def test_signals_that_are_ignored_stay_ignored() -> None:
    """As in a job that was started with nohup, or with & in a script."""
    with restored():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signals.install_handlers()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signals._raise
        previous = signals.replace_handlers(signals._remember)
        assert signal.SIGINT not in previous
        signals.restore_handlers(previous)


def test_releasing_the_handlers_keeps_ignored_signals_ignored() -> None:
    with restored():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals.install_handlers()
        signals.release_handlers()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_needs_no_check_callback(tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*TINY, "trainer.max_epochs=1", "hydra.run.dir=run", "~hydra.callbacks.check"]
    assert call_main(training_command.main, [TRAIN, *words]) == 0
    assert Run(tmp_path / "run").results


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.slow
def test_ctrl_c_does_not_interrupt_a_background_training(tmp_path: Path) -> None:
    words = [*QUICK, "trainer.max_epochs=3", "hydra.run.dir=run"]
    process = Forked(TRAIN, *words, cwd=tmp_path, prepared=ignore_interrupts)
    wait_for(tmp_path / "run/config.yaml", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


@pytest.mark.slow
def test_closing_the_terminal_saves_the_training(tmp_path: Path) -> None:
    """SIGHUP: the training saves a checkpoint, and the message says how to resume."""
    words = [*QUICK, "trainer.max_epochs=200", "hydra.run.dir=run"]
    process = Forked(TRAIN, *words, cwd=tmp_path)
    wait_for(tmp_path / "run/checkpoints/last.ckpt", process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    out, err = process.communicate()
    assert "Saved at step" in out
    assert err.startswith("\nInterrupted. To resume: ")


def test_an_interactive_session_gets_its_handlers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    monkeypatch.setenv("MPLBACKEND", "inline")
    with restored():
        for _ in range(2):
            with contextlib.suppress(SystemExit), entry.command():
                assert signal.getsignal(signal.SIGINT) is signals._raise
                assert os.environ["MPLBACKEND"] == "inline"
                sys.exit(0)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def break_a_callback() -> None:
    from digits.sweeps.sweep import Sweep

    def fail(*args: Any) -> str:
        raise OSError("no such user")

    Sweep._settings = fail  # type: ignore[method-assign]


@pytest.mark.slow
def test_an_error_in_a_callback_of_a_sweep_ends_it(tmp_path: Path) -> None:
    """Hydra alone would print a warning and continue."""
    done = run(TRAIN, "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path, prepared=break_a_callback)
    assert done.returncode == 1
    assert "Failed: OSError: no such user" in done.stderr


@pytest.mark.slow
def test_json_output_is_valid_on_an_ascii_stream(sample_run: Path, tmp_path: Path) -> None:
    draw(tmp_path / "é.png", 1700)
    words = ["-m", "digits", "predict", str(sample_run), "é.png", "--json"]
    done = run(*words, cwd=tmp_path, prepared=apply_io_encoding, **ENVIRONMENTS["ascii"])
    assert done.returncode == 0
    (answer,) = json.loads(done.stdout)
    assert answer["picture"] == "é.png"
