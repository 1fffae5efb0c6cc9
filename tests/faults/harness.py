"""Cuts real trainings off repeatedly, resumes them, and compares the results with those of uninterrupted trainings.

python -m tests.faults.harness [CUTS [SEED]]     CUTS of each kind; prints JSON; exit code 1 if one lost anything

Each training is a process of its own. It is forked from this one, which imports the slow modules once and computes
nothing itself.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning import Callback

from digits.cli.train import write_report
from digits.data import sample
from digits.explanation import report  # noqa: F401  # imported before the forks: it takes a second
from digits.runs.run import Run
from digits.signals import exit_codes, forward_to_scheduler
from digits.training import train as training

from ..helpers import composed

COMMON = [
    "data=sample",
    "trainer.accelerator=cpu",
    "trainer.limit_train_batches=30",
    "trainer.max_epochs=3",
    "data.batch_size=20",
    "model.blocks=[{channels: 8, kernel_size: 5, normalisation: batch}, {channels: 8}]",
    "model.head.hidden=[32]",
    "model.head.dropout=0.5",
]
CONFIGURATIONS = {
    "adam": [],
    "bf16, adamw, one-cycle": ["trainer.precision=bf16-mixed", "optimizer=adamw", "scheduler=one_cycle"],
    "sgd, steps, early stopping": [
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "scheduler=step",
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
    ],
    "gradients added up": ["trainer.accumulate_grad_batches=4", "scheduler=cosine"],
    "augmented, moving average": ["data/augment=erase", "averaging=ema"],
}
MOST_CUTS = 8  # per training
MOST_UNCUT = 30  # trainings in a row that end before they are cut off
SAVE_OFTEN = ["callbacks.checkpoint.every_n_steps=7", "callbacks.checkpoint.every_n_seconds=0.2"]


class CutOffError(Exception):
    """Stands for any error in a training."""


class FailAt(Callback):
    """Fails at a training step, counted over all epochs."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx >= self.step:
            raise CutOffError


@dataclass
class Kind:
    """One way to be cut off.

    Attributes:
        signal: The signal that the process receives after a random time; 0 for none.
        spoil: Called in the process before it trains.
        codes: The expected exit codes; negative if a signal kills the process, such as -9.
        cuts: How often it has happened.
        survived: How often the training then resumed to the same end.
    """

    signal: int
    spoil: Callable[[random.Random], None]
    codes: tuple[int, ...]
    cuts: int = 0
    survived: int = 0


def nothing(rng: random.Random) -> None:
    """Leave the process as it is."""


def fail_somewhere(rng: random.Random) -> None:
    """Make the training raise an error at a random step."""
    build = training.build_trainer

    def failing(*args: Any) -> Any:
        trainer = build(*args)
        trainer.callbacks.insert(0, FailAt(rng.randrange(90)))
        return trainer

    training.build_trainer = failing


def fill_the_disk(rng: random.Random) -> None:
    """Limit all files to a random size, from 100 bytes to 500 kB: writing beyond it fails."""
    for stream in (1, 2):  # so that the limit does not apply to the harness's own log
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    size = round(10 ** rng.uniform(2, 5.7))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def listen_to_a_scheduler(rng: random.Random) -> None:
    """Let a signal end the process at once, as submitit's handler does after it has submitted the job again."""
    signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(128 + number))


KINDS = {
    "killed (SIGKILL)": Kind(signal.SIGKILL, nothing, (-signal.SIGKILL,)),
    "terminated (SIGTERM)": Kind(signal.SIGTERM, nothing, (143,)),
    "interrupted (SIGINT, Ctrl-C)": Kind(signal.SIGINT, nothing, (130,)),
    "taken away by a scheduler (SIGUSR2)": Kind(signal.SIGUSR2, listen_to_a_scheduler, (128 + signal.SIGUSR2,)),
    "an error": Kind(0, fail_somewhere, (1,)),
    "no room for a file": Kind(0, fill_the_disk, (1, 2)),
}


@dataclass
class Figures:
    """The totals over all trainings, printed as JSON."""

    cuts: int = 0
    survived: int = 0
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    trainings: int = 0
    losses: list[str] = field(default_factory=list)
    seconds: float = 0.0


def begin(words: list[str], directory: Path, spoil: Callable[[], None] = lambda: None) -> int:
    """Fork a process that trains, and return its process ID once it handles signals."""
    ready, listening = os.pipe()
    process = os.fork()
    if process:
        os.close(listening)
        os.read(ready, 1)
        os.close(ready)
        return process
    code = 99
    try:
        with (directory.parent / f"{directory.name}.log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with exit_codes():
            spoil()
            os.write(listening, b".")
            with forward_to_scheduler():
                results = training.train(composed(*COMMON, *words), directory)
                if not Run(directory).report_file.exists():
                    write_report(Run(directory), results)
            code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def exit_code_of(process: int) -> int:
    """Wait for a process, and return its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def contents(directory: Path) -> dict[str, Any]:
    """Everything that must be equal in two runs of the same configuration."""
    run = Run(directory)
    results = run.results
    assert results is not None, f"{directory} has no results"
    kept: dict[str, Any] = {
        key: value for key, value in asdict(results).items() if key not in ("train_seconds", "wall_seconds")
    }
    for path in (run.best, run.last):
        content = torch.load(path, weights_only=True)
        for name, weight in content["state_dict"].items():
            kept[f"{path.name} {name}"] = weight.numpy().tobytes()
    for name in ("metrics.csv", "evaluation.json"):
        kept[name] = (directory / name).read_bytes()
    kept["files"] = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    return kept


def cut(kind: Kind, words: list[str], directory: Path, seconds: float, rng: random.Random) -> bool:
    """Train until the training is cut off or finished, and return whether it was cut off."""
    seed = rng.random()
    process = begin([*words, *SAVE_OFTEN], directory, lambda: kind.spoil(random.Random(seed)))
    if kind.signal:
        time.sleep(rng.uniform(0, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, kind.signal)
    code = exit_code_of(process)
    if code and code not in kind.codes:
        log = Path(f"{directory}.log").read_text(encoding="utf-8")
        raise AssertionError(f"ended with {code}, where {kind.codes} were expected: {log[-3000:]}")
    return code != 0


def chains(folder: Path, cuts: int, rng: random.Random) -> Iterator[tuple[str, int, str]]:
    """Cut trainings off until there are enough cuts of each kind.

    Yields:
        The kind, the number of cuts of a training, and what it lost.
    """
    whole: dict[str, tuple[dict[str, Any], float]] = {}
    for name, words in CONFIGURATIONS.items():
        directory = folder / "whole" / name
        started = time.perf_counter()
        directory.parent.mkdir(exist_ok=True)
        assert exit_code_of(begin(words, directory)) == 0, (folder / f"whole/{name}.log").read_text()
        whole[name] = contents(directory), time.perf_counter() - started
    number = 0
    for kind_name, kind in KINDS.items():
        done, idle = 0, 0
        while done < cuts:
            assert idle < MOST_UNCUT, f"{kind_name}: no cut in {idle} trainings"
            name = list(CONFIGURATIONS)[number % len(CONFIGURATIONS)]
            expected, seconds = whole[name]
            directory = folder / str(number)
            number += 1
            times = 0
            while times < min(MOST_CUTS, 2 * cuts) and cut(kind, CONFIGURATIONS[name], directory, seconds, rng):
                times += 1
            if not (Run(directory).results and Run(directory).report_file.exists()):
                assert exit_code_of(begin([*CONFIGURATIONS[name], *SAVE_OFTEN], directory)) == 0, Path(
                    f"{directory}.log"
                ).read_text()
            found = contents(directory)
            lost = [key for key in expected if found.get(key) != expected[key]]
            if "files" in lost:
                lost += sorted({*expected["files"]} ^ {*found["files"]})
            yield kind_name, times, f"{name}: {', '.join(map(str, lost))}" if lost else ""
            done, idle = done + times, 0 if times else idle + 1
            shutil.rmtree(directory)


def main(cuts: int = 40, seed: int = 0) -> Figures:
    """Cut trainings off, resume them, and compare them with uninterrupted ones."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    sample.load()  # before the forks, so that no training loads it again
    started = time.perf_counter()
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        for kind, times, lost in chains(Path(folder), cuts, random.Random(seed)):
            KINDS[kind].cuts += times
            KINDS[kind].survived += 0 if lost else times
            figures.trainings += 1
            if lost:
                figures.losses.append(f"{kind}: {lost}")
    figures.kinds = {name: {"cuts": kind.cuts, "survived": kind.survived} for name, kind in KINDS.items()}
    figures.cuts = sum(kind.cuts for kind in KINDS.values())
    figures.survived = sum(kind.survived for kind in KINDS.values())
    figures.seconds = round(time.perf_counter() - started)
    return figures


if __name__ == "__main__":
    outcome = main(*map(int, sys.argv[1:]))
    print(json.dumps(asdict(outcome), indent=2))
    sys.exit(bool(outcome.losses))
