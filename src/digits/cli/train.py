"""The command that trains: ``python train.py``, and ``digits train`` where digits is installed."""

import time

STARTED = time.perf_counter()  # before most imports, which are part of what a person waits for

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from digits import config, processes
from digits import overrides as command_line
from digits.errors import DEBUG, HYDRAS, RunError, UserError, debugging, exit_code, message
from digits.runs.run import Run
from digits.signals import (
    Interrupted,
    exit_codes,
    forward_to_scheduler,
    importing,
    interruption_of,
    raise_if_interrupted,
)

log = logging.getLogger(__name__)

# Errors of joblib and submitit, which are imported with their launchers only, where the process of a job is gone.
GONE = {
    "TerminatedWorkerError": "a job's process was killed, for want of memory perhaps",
    "UncompletedJobError": "a job ended without a result: {}",
}

NEXT = """Try next:
  python train.py model=compact                        a small modern network
  python train.py -m optimizer.lr=0.01,0.001,0.0001    a run for each, and a leaderboard"""


def main() -> None:
    """Check the command line, then hand over to Hydra, which calls `run_job` for each job."""
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = debugging()  # on a full disk, train.log lacks a line, and the screen has no traceback
    with exit_codes():
        sweeping = command_line.check(sys.argv[1:], _program())
        sys.argv[1:] = command_line.in_order(sys.argv[1:])
        if sweeping and not {"-m", "--multirun"}.intersection(sys.argv):
            sys.argv.insert(1, "-m")  # Hydra 1.4 reads several values before it asks whether an experiment is a sweep
        try:
            with told_by_us():
                config.entry_point(run_job)()
        except (Interrupted, Exception) as error:
            interruption = interruption_of(error)
            if interruption and HydraConfig.initialized():
                interruption.advice = _how_to_go_on()
            if why := GONE.get(type(error).__name__):
                told = " ".join(str(error).splitlines()[:2])  # of submitit, which job; below, its log
                raise RunError(f"{why.format(told)}. {_how_to_go_on()}") from error
            raise


def run_job(cfg: DictConfig) -> float | None:
    """Train once, and return the metric that a sweep compares; None if it failed.

    A failure ends the process, but in a sweep, where it is written down for the leaderboard and the next job begins.
    """
    if not processes.is_first():
        logging.disable(logging.WARNING)
    run = Run(Path(HydraConfig.get().runtime.output_dir))
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with forward_to_scheduler():
            return _train(cfg, run, sweeping)
    except (Interrupted, Exception) as error:
        if interruption := interruption_of(error):
            interruption.advice = _how_to_go_on()
            raise
        log.error("%s", message(error), exc_info=debugging())
        if not sweeping:
            sys.exit(exit_code(error))
        if not run.results_file.exists():  # the leaderboard says why
            if isinstance(error, RunError):  # it was interrupted, and is not submitted again
                run.write_failure(error)
            elif not run.config_file.exists():  # it was refused before it began
                run.write_failure(UserError(f"{error} ({' '.join(HydraConfig.get().overrides.task)})"))
        return None


def _train(cfg: DictConfig, run: Run, sweeping: bool) -> float:
    results = run.finished(config.check(cfg, multirun=sweeping))
    if results and (run.report_file.exists() or not cfg.report):  # the answer is there before torch is imported
        accuracy, data = 100 * results.test_accuracy, results.dataset["name"]
        log.info("Finished before: test accuracy %.2f %% on %s, in %s", accuracy, data, run.path)
        return results.metric
    with importing():
        from digits.training.train import train
    raise_if_interrupted()
    # In a sweep that was killed, a job may live on in a process of its own.
    metric = train(cfg, run.path, None if sweeping else STARTED, wait=sweeping).metric
    if not sweeping:
        log.info("%s", NEXT.replace("python train.py", _program()))
    return metric


@contextmanager
def told_by_us() -> Iterator[None]:
    """Have Hydra raise its errors, which it would print with where they came from, so that all are told in one way."""
    before = {name: os.environ.get(name) for name in (DEBUG, HYDRAS)}
    os.environ.update({DEBUG: "1" if debugging() else "0", HYDRAS: "1"})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _how_to_go_on() -> str:
    """The command that was typed, in the directory of this time."""
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    word = f"hydra.sweep.dir={hydra_config.sweep.dir}" if sweeping else f"hydra.run.dir={hydra_config.run.dir}"
    words = [argument for argument in sys.argv[1:] if not argument.startswith(word.partition("=")[0])]
    return f"To go on: {_program()} {shlex.join([*words, word])}"


def _program() -> str:
    """How the command was called."""
    return "digits train" if sys.argv[0] == __file__ else shlex.join(["python", sys.argv[0]])


if __name__ == "__main__":
    main()
