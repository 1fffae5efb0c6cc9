"""A training that is cut off at any step and resumed ends with the same weights, results and metrics."""

import contextlib
import io
import itertools
import logging
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from digits import signals
from digits.errors import RunError, UserError
from digits.runs.run import Run
from digits.signals import exit_codes
from digits.training import checkpoints as saving
from digits.training import train as training
from digits.training.train import train

from ..helpers import Compose, assert_same_runs, restored

CONFIGURATIONS = {
    "dropout": ["model.head.dropout=0.5"],
    "sgd, a scheduler by step, early stopping": [
        "optimizer=sgd",
        "scheduler=one_cycle",
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=0.05",
    ],
    "a scheduler by epoch, no validation, rows without a whole batch": [
        "optimizer=rmsprop",
        "scheduler=step",
        "data.val_size=0",
        "data.batch_size=27",
    ],
    "gradients added up": ["trainer.accumulate_grad_batches=3", "optimizer=adamw"],
    "augmentation, a moving average": ["data/augment=erase", "averaging=ema", "model.head.dropout=0.5"],
    "batch normalisation in bf16": [
        "model.blocks=[{channels: 4, kernel_size: 3, padding: 1, normalisation: batch}]",
        "trainer.precision=bf16-mixed",
    ],
}


# Within an epoch, at the end of the first epoch, and at the end of the last.
STEPS = [3, pytest.param(10, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.slow)]


class ActionAt(Callback):
    """Calls a function at the end of a training step, counted over all epochs from 1."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == self.step:
            self.action()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes the next training call a function at the end of a step."""
    build = training.build_trainer

    def at(step: int, action: Any) -> None:
        def trainer(*args: Any) -> Any:
            monkeypatch.setattr(training, "build_trainer", build)
            built = build(*args)
            built.callbacks.insert(0, ActionAt(step, action))
            return built

        monkeypatch.setattr(training, "build_trainer", trainer)

    return at


def fail() -> None:
    raise KeyError("cut off")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[] if name == "dropout" else pytest.mark.slow)
        for name, words in CONFIGURATIONS.items()
    ],
)
def test_failed_trainings_resume_to_the_same_end(words: list[str], tiny: Compose, tmp_path: Path, at: Any) -> None:
    cfg = tiny("trainer.max_epochs=3", *words)
    train(cfg, tmp_path / "whole")
    often_saved = tiny("trainer.max_epochs=3", "callbacks.checkpoint.every_n_steps=1", *words)
    for step in (1, 4, 9, 10, 16, 26):
        at(step, fail)
        with pytest.raises(KeyError, match="cut off"):
            train(often_saved, tmp_path / "cut")
    train(often_saved, tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_checkpoints_at_intervals_of_steps_or_seconds(tiny: Compose, tmp_path: Path, at: Any) -> None:
    for name, word, saved in (
        ("a", "every_n_steps=4", 4),
        ("b", "every_n_seconds=1e-9", 7),
        ("c", "monitor=val/loss", 0),
    ):
        at(8, fail)
        with pytest.raises(KeyError):
            train(tiny(f"callbacks.checkpoint.{word}"), tmp_path / name)
        last = Run(tmp_path / name).last
        assert (torch.load(last, weights_only=True)["global_step"] if last.exists() else 0) == saved


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", STEPS)
def test_a_signal_saves_at_the_end_of_the_step_and_the_run_resumes(
    number: signal.Signals,
    step: int,
    tiny: Compose,
    tmp_path: Path,
    at: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    train(tiny("model.head.dropout=0.5"), tmp_path / "whole")
    at(step, lambda: signal.raise_signal(number))
    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        train(tiny("model.head.dropout=0.5"), tmp_path / "cut")
    assert ended.value.code == 128 + number
    assert f"Saved at step {step} of the training: {tmp_path / 'cut/checkpoints/last.ckpt'}" in caplog.text
    assert torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["global_step"] == step
    train(tiny("model.head.dropout=0.5"), tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("step", STEPS)
def test_a_schedulers_signal_is_forwarded_after_saving(step: int, tiny: Compose, tmp_path: Path, at: Any) -> None:
    """Submitit's own handler would exit at once, at any point."""
    train(tiny("model.head.dropout=0.5"), tmp_path / "whole")
    last = Run(tmp_path / "cut").last
    with restored():
        signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(f"{number} {last.exists()}"))
        at(step, lambda: signal.raise_signal(signal.SIGUSR2))
        with pytest.raises(SystemExit, match=f"{signal.SIGUSR2} True"), signals.forward_to_scheduler():
            train(tiny("model.head.dropout=0.5"), tmp_path / "cut")
    assert torch.load(last, weights_only=True)["global_step"] == step
    assert not Run(tmp_path / "cut").results_file.exists()
    train(tiny("model.head.dropout=0.5"), tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_training_continues_until_the_scheduler_ends_it(tiny: Compose, tmp_path: Path) -> None:
    """Lightning's handler only makes Slurm submit the job again. A repeated signal is ignored; SIGTERM ends the job."""
    train(tiny(), tmp_path / "whole")
    last = Run(tmp_path / "cut").last
    steps = []
    sent = {3: signal.SIGUSR1, 5: signal.SIGUSR1, 7: signal.SIGTERM}
    senders = [ActionAt(step, lambda number=number: signal.raise_signal(number)) for step, number in sent.items()]
    with restored():
        signal.signal(signal.SIGUSR1, lambda *args: steps.append(torch.load(last, weights_only=True)["global_step"]))
        before = signal.getsignal(signal.SIGUSR1)
        with pytest.raises(SystemExit) as ended, exit_codes():
            train(tiny(), tmp_path / "cut", callbacks=senders)
        assert signal.getsignal(signal.SIGUSR1) is before
    assert ended.value.code == 143
    assert steps == [3]
    assert torch.load(last, weights_only=True)["global_step"] == 7
    train(tiny(), tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_lightnings_own_checkpoint_for_slurm_is_skipped(tmp_path: Path) -> None:
    saving.AtomicCheckpointIO(Run(tmp_path)).save_checkpoint({"a": 1}, tmp_path / "hpc_ckpt_1.ckpt")
    assert not list(tmp_path.iterdir())


def test_an_interruption_hidden_by_another_error_stops_other_processes(
    tiny: Compose, tmp_path: Path, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden() -> None:
        try:
            raise signals.Interrupted(signal.SIGUSR2)
        finally:
            raise RuntimeError("of a library that was clearing up")

    stopped: list[bool] = []
    monkeypatch.setattr(training.processes, "stop_children", lambda: stopped.append(True))
    at(3, hidden)
    with pytest.raises(RuntimeError, match="clearing up"):
        train(tiny(), tmp_path)
    assert stopped


class TerminateAtTheEnd(Callback):
    """Sends SIGTERM to its process after everything has been saved."""

    def on_train_end(self, *args: Any) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_after_the_last_save_still_stops_the_run(tiny: Compose, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "whole")
    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        train(tiny(), tmp_path / "cut", callbacks=[TerminateAtTheEnd()])
    assert ended.value.code == 143
    assert not Run(tmp_path / "cut").results_file.exists()
    train(tiny(), tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_signal_during_an_error_interrupts_the_command_afterwards(tiny: Compose, tmp_path: Path, at: Any) -> None:
    """So that a sweep does not continue with the next job."""

    def interrupt_and_fail() -> None:
        signal.raise_signal(signal.SIGINT)
        fail()

    at(3, interrupt_and_fail)
    with restored():
        signals.install_handlers()
        with pytest.raises(KeyError):
            train(tiny(), tmp_path)
        with pytest.raises(signals.Interrupted):
            signals.raise_if_interrupted()
        signals.forget()


def test_a_training_called_from_python_leaves_signals_alone(
    tiny: Compose, tmp_path: Path, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is a KeyboardInterrupt, as in any session, and works again afterwards; the run resumes."""
    seen: list[Any] = []

    def interrupt() -> None:
        seen.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2))
        signal.raise_signal(signal.SIGINT)

    for name in ("_installed", "_is_job"):
        monkeypatch.setattr(signals, name, False)
    with restored():
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)]
        terminate = signal.getsignal(signal.SIGTERM)
        train(tiny(), tmp_path / "whole")
        at(3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), tmp_path / "cut")
        assert seen == before
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)] == before
        assert signal.getsignal(signal.SIGTERM) == terminate
        train(tiny(), tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_second_signal_stops_the_training_at_once(tiny: Compose, tmp_path: Path, at: Any) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.6)
        signal.raise_signal(signal.SIGTERM)

    at(3, twice)
    with restored(), pytest.raises(SystemExit) as ended, exit_codes():
        train(tiny(), tmp_path)
    assert ended.value.code == 143
    assert not Run(tmp_path).last.exists()


def test_signal_handlers_are_restored_after_a_training(tiny: Compose, tmp_path: Path, at: Any) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    at(3, fail)
    with pytest.raises(KeyError):
        train(tiny(), tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    train(tiny(), tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(
    "damage", ["bit", *[pytest.param(each, marks=pytest.mark.slow) for each in ("truncated", "empty", "gone")]]
)
def test_the_previous_checkpoint_is_used_if_the_last_one_is_damaged(
    damage: str, tiny: Compose, tmp_path: Path, at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny(), tmp_path / "whole")
    cfg = tiny("callbacks.checkpoint.every_n_steps=3")
    at(17, fail)
    with pytest.raises(KeyError):
        train(cfg, tmp_path / "cut")
    run = Run(tmp_path / "cut")
    content = bytearray(run.last.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        run.last.unlink()
    else:
        run.last.write_bytes({"truncated": content[:-100], "empty": b"", "bit": content}[damage])
    caplog.set_level(logging.INFO)
    train(cfg, tmp_path / "cut")
    assert f"Continuing from {run.previous}" in caplog.text
    assert ("last.ckpt cannot be read as a checkpoint" in caplog.text) == (damage != "gone")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_two_damaged_checkpoints_are_refused(tiny: Compose, tmp_path: Path, at: Any) -> None:
    cfg = tiny("callbacks.checkpoint.every_n_steps=3")
    at(8, fail)
    with pytest.raises(KeyError):
        train(cfg, tmp_path)
    run = Run(tmp_path)
    run.last.write_bytes(b"")
    run.previous.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"previous\.ckpt cannot be read .*; delete .*checkpoints to train from the start"
    ):
        train(cfg, tmp_path)


@pytest.mark.slow
def test_a_run_directory_that_was_moved_resumes(tiny: Compose, tmp_path: Path, at: Any) -> None:
    words = "trainer.max_epochs=5", "optimizer.lr=0.05"
    train(tiny(*words), tmp_path / "whole")
    at(41, fail)
    with pytest.raises(KeyError):
        train(tiny(*words), tmp_path / "cut")
    shutil.move(tmp_path / "cut", tmp_path / "elsewhere")
    train(tiny(*words), tmp_path / "elsewhere")
    assert_same_runs(tmp_path / "whole", tmp_path / "elsewhere")


def test_a_full_disk_loses_nothing(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny(), tmp_path / "whole")
    cfg = tiny("callbacks.checkpoint.every_n_steps=3")
    save = torch.save

    def full(content: dict[str, Any], file: Any) -> None:
        save(content, file)
        if content["global_step"] == 15:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(RunError, match=r"last\.ckpt cannot be written: No space left on device\. Earlier"):
            train(cfg, tmp_path / "cut")
    names = {path.name for path in (tmp_path / "cut/checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["global_step"] == 12
    train(cfg, tmp_path / "cut")
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("bytes_left", [0, 100, 5_000, 9_000])
def test_a_disk_that_fills_up_within_a_file_is_reported(
    bytes_left: int, tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, content: Any) -> int:
            if self.tell() + len(content) > bytes_left:
                raise OSError(28, "No space left on device")
            return super().write(content)

    monkeypatch.setattr(saving, "atomic", lambda path, keep: contextlib.nullcontext(Full()))
    with pytest.raises(RunError, match=r"best\.ckpt cannot be written: No space left on device\. Earlier"):
        train(tiny(), tmp_path)


def test_a_finished_run_accepts_another_saving_interval(tiny: Compose, tmp_path: Path) -> None:
    before = train(tiny(), tmp_path)
    assert (
        train(tiny("callbacks.checkpoint.every_n_steps=2", "callbacks.checkpoint.every_n_seconds=5"), tmp_path)
        == before
    )


def test_durations_ignore_the_system_clock(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(2e9, -1000)
    monkeypatch.setattr("time.time", lambda: next(now))
    results = train(tiny("callbacks.checkpoint.every_n_seconds=0.001"), tmp_path)
    assert 0 < results.train_seconds < results.wall_seconds < 60
