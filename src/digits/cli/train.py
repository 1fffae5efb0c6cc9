"""The training command: ``python train.py``, and ``digits train`` where digits is installed."""

import time

STARTED = time.perf_counter()  # before most imports: they are part of wall_seconds

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

from digits import overrides, processes
from digits.checks import Check
from digits.config import TrainConfig
from digits.console import say
from digits.entry import command
from digits.errors import EXIT_DONE, HYDRA_DEBUG, OUR_DEBUG, RunError, UserError, debugging, exit_code, message
from digits.runs.results import Results
from digits.runs.run import Run
from digits.runs.start_from import pin, siblings
from digits.signals import (
    Interrupted,
    begin_job,
    forward_to_scheduler,
    importing,
    interruption_of,
    raise_if_interrupted,
)
from digits.validation import resolve

log = logging.getLogger(__name__)

LOST_JOBS = {
    "TerminatedWorkerError": "a job's process was killed, perhaps because memory ran out",
    "UncompletedJobError": "a job ended without a result: {}",
}
"""Errors of joblib and submitit by class name, since both are only imported with their launchers."""

NEXT = """Try next:
  python train.py model=compact                  a small modern network
  python train.py -m optimizer.lr=0.01,0.001     a run for each, a leaderboard
  digits draw latest                             draw, and see the network think"""


def main() -> int | None:
    """Parse the command line, then let Hydra compose the configuration and call `run_job` for each job.

    Returns:
        The exit code; None if Hydra has run no job, or only a part of a sweep.
    """
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = debugging()  # on a full disk, train.log loses a line, and the screen shows no traceback
    sys.argv[1:] = map(overrides.home_expanded, sys.argv[1:])
    arguments = overrides.parse_arguments(sys.argv[1:])
    if arguments.help:
        print(help_text(), end="")
        return EXIT_DONE
    sys.argv[1:] = overrides.null_groups_deleted(overrides.options_first(sys.argv[1:]))
    if overrides.is_sweep(arguments) and not (arguments.multirun or arguments.cfg or arguments.info):
        sys.argv.insert(1, "-m")
    Check.done = False
    try:
        with hydra_raises(), overrides.explaining(arguments.overrides):
            overrides.hydra_main(_run_and_remember)()
    except (Interrupted, Exception) as error:
        interruption = interruption_of(error)
        if interruption and HydraConfig.initialized():
            interruption.advice = _how_to_resume()
        if reason := LOST_JOBS.get(type(error).__name__):
            details = " ".join(str(error).splitlines()[:2])  # submitit appends the whole log of the job
            raise RunError(f"{reason.format(details)}. {_how_to_resume()}") from error
        raise
    finally:
        HydraConfig.instance().cfg = None  # the callbacks set it
    only_prints = arguments.cfg or arguments.info or arguments.hydra_help or arguments.shell_completion
    return EXIT_DONE if only_prints or Check.done else None


def _run_and_remember(cfg: DictConfig) -> float | None:
    metric = run_job(cfg)
    if metric is not None and HydraConfig.get().mode != RunMode.MULTIRUN:
        Check.done = True  # a sweep is done when all its jobs are
    return metric


def run_job(cfg: DictConfig) -> float | None:
    """Train once, and return the metric that a sweep compares.

    Exits on failure. In a sweep, records the failure for the leaderboard instead, returns None, and lets the next job
    run.
    """
    begin_job()
    if not processes.is_first():
        logging.disable(logging.WARNING)
    run = Run(Path(HydraConfig.get().runtime.output_dir))
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with forward_to_scheduler():
            return _train(cfg, run, sweeping)
    except (Interrupted, Exception) as error:
        if interruption := interruption_of(error):
            interruption.advice = _how_to_resume()
            raise
        log.error("%s", message(error), exc_info=debugging())
        if not sweeping:
            sys.exit(exit_code(error))
        if not run.results_file.exists():
            if isinstance(error, RunError):  # a scheduler interrupted it, and does not submit it again
                run.write_failure(error)
            elif not run.config_file.exists():  # the job was refused before it began
                run.write_failure(UserError(f"{error} ({' '.join(HydraConfig.get().overrides.task)})"))
        return None


def _train(cfg: DictConfig, run: Run, sweeping: bool) -> float:
    checked = _checked(cfg, sweeping)
    pin(checked, run, siblings(run) if sweeping else [])
    run.check(checked)
    results = run.results
    if results and (run.report_file.exists() or not checked.report):  # answer before torch is imported
        accuracy, data = 100 * results.test_accuracy, results.dataset["name"]
        log.info("Finished before: test accuracy %.2f %% on %s, in %s", accuracy, data, run.path)
        return results.metric
    with importing():
        from digits.training.train import train
    raise_if_interrupted()
    # A job of a killed sweep may still be running in a process of its own: wait for it.
    results = train(checked, run.path, None if sweeping else STARTED, wait=sweeping)
    if checked.report and not run.report_file.exists():
        write_report(run, results)
    if not logging.getLogger().hasHandlers():  # hydra/job_logging=none
        say(f"Test accuracy {100 * results.test_accuracy:.2f} %, in {run.path}")
    if not sweeping:
        log.info("%s", NEXT.replace("python train.py", _program()))
    return results.metric


def write_report(run: Run, results: Results) -> None:
    """Write the report. If that fails, only warn: the run has finished without it."""
    from digits.explanation.report import write

    try:
        write(run, results)
    except Exception as error:
        if interruption_of(error):
            raise
        log.warning("No report: %s. To write it later: digits report %s", error, run.path)


def _checked(cfg: DictConfig, sweeping: bool) -> TrainConfig:
    """The configuration that was checked before Hydra created the run directory; a job of a sweep is checked here."""
    if Check.checked and not sweeping:
        return Check.checked
    return resolve(cfg, multirun=sweeping)


@contextmanager
def hydra_raises() -> Iterator[None]:
    """Make Hydra raise its errors instead of printing them, so that we format all errors alike."""
    before = {name: os.environ.get(name) for name in (OUR_DEBUG, HYDRA_DEBUG)}
    os.environ.update({OUR_DEBUG: "1" if debugging() else "0", HYDRA_DEBUG: "1"})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def help_text() -> str:
    """The text of ``--help``: the options of every group, and the keys that people change."""
    conf = overrides.config_directory()
    groups = sorted({path.parent.relative_to(conf).as_posix() for path in conf.glob("*/**/*.yaml")})
    lines = [
        f"  {group:<12} {', '.join(sorted(file.stem for file in (conf / group).glob('*.yaml')))}"
        for group in groups
        if group.partition("/")[0] not in ("hydra", "search")  # not groups of a training
    ]
    text = Path(__file__).with_name("help.txt").read_text(encoding="utf-8")
    return text.format(groups="\n".join(lines)).replace("python train.py", _program())


def _how_to_resume() -> str:
    """The command that the user typed, with the directory of this run."""
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    key, directory = (
        ("hydra.sweep.dir", hydra_config.sweep.dir) if sweeping else ("hydra.run.dir", hydra_config.run.dir)
    )
    words = [argument for argument in sys.argv[1:] if not argument.startswith(f"{key}=")]
    return f"To resume: {_program()} {shlex.join([*words, overrides.as_override(key, directory)])}"


def _program() -> str:
    """How the user called the command."""
    return "digits train" if sys.argv[0] == __file__ else shlex.join(["python", sys.argv[0]])


if __name__ == "__main__":  # Lightning starts the other processes of `digits train` in this way
    with command():
        sys.exit(main())
