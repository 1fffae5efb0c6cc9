"""The Hydra callback around a multirun: it checks and plans the jobs, reports progress and writes the leaderboard."""

import logging
import multiprocessing
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # lists the jobs; it has no public name
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from digits.checks import Check, check_directory
from digits.console import ScreenHandler, duration, say
from digits.errors import EXIT_FAILED, UserError, first_line
from digits.overrides import explaining
from digits.runs.files import changed_at
from digits.runs.run import Run
from digits.signals import exit_on_error, install_handlers
from digits.sweeps import job_processes, plan
from digits.validation import resolve

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5


class Sweep(Callback):
    """Checks and plans a sweep, reports its progress, and writes the leaderboard. Hydra instantiates it from YAML.

    Each method ends the process on an error: Hydra would turn the error into a warning.
    """

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []
        self._process = os.getpid()
        self._planned = False
        self._open: list[int] = []  # numbers of the jobs that had no result at the start
        self._began = 0.0
        self._progress: Progress | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state that a process of a job gets: all but the thread that reports progress."""
        return {**vars(self), "_progress": None}

    @exit_on_error()
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all jobs before the first one starts, and write the plan."""
        for name in ("hydra", "hydra_plugins"):  # on_job_start prints a line for each job, with the time left
            logging.getLogger(name).setLevel(logging.WARNING)
        HydraConfig.instance().set_config(config)  # for ${hydra:…} in values, and to say how to resume between jobs
        if _launcher(config) == "SlurmLauncher" and not shutil.which("srun"):
            raise UserError("hydra/launcher=slurm: there is no Slurm on this machine (srun).")
        directory = check_directory(config, "hydra.sweep.dir")
        self.jobs = jobs_of(config)
        _check_same_directory(config, self.jobs)
        runs = [Run(directory / str(number)) for number, _ in enumerate(self.jobs)]
        _check_jobs(config.hydra.job.config_name, self.jobs, runs)
        plan.check(directory, self.jobs)
        if _launcher(config) == "JoblibLauncher":
            default = str(config.trainer.devices)
            devices = [overrides.get("trainer.devices", default) for overrides in plan.by_number(self.jobs).values()]
            processes = max(int(each) if each.isdecimal() else 1 for each in devices)
            with read_write(config.hydra):
                config.hydra.launcher.n_jobs = at_once(config, len(self.jobs), processes)
                config.hydra.launcher.update(batch_size="1", pre_dispatch="n_jobs")  # start in order
            if config.hydra.launcher.n_jobs > 1:
                job_processes.check_one_gpu_each(config.trainer.accelerator, devices)
            say(f"{len(self.jobs)} jobs, {config.hydra.launcher.n_jobs} at once")
        directory.mkdir(parents=True, exist_ok=True)
        plan.write_plan(directory, self.jobs)
        self._open = [number for number, run in enumerate(runs) if not _outcome(run)[1]]
        if _launcher(config) != "BasicLauncher" and config.hydra.launcher.get("n_jobs") != 1:
            launcher = config.hydra.launcher
            parallel = int(launcher.get("n_jobs") or launcher.get("array_parallelism") or len(runs))
            parallel = min(parallel, max(1, len(self._open)))
            self._progress = Progress(
                [self._settings(overrides) for overrides in self.jobs], runs, self._open, parallel
            )
            self._progress.start()
        self._planned = True
        self._began = time.monotonic()

    @exit_on_error()
    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Announce the job and the time left. In a parallel job, silence the console instead."""
        if not self.jobs:
            return  # a single run
        if os.getpid() == self._process:
            settings = self._settings(config.hydra.overrides.task)
            settings = f": {settings}" if settings else ""
            done = sum(number < config.hydra.job.num for number in self._open)
            left = _time_left(time.monotonic() - self._began, done, len(self._open) - done)
            log.info("\nJob %d of %d%s%s", config.hydra.job.num + 1, len(self.jobs), left, settings)
            return
        if _launcher(config) == "LocalLauncher":  # it starts all jobs at once; joblib limits the threads itself
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        install_handlers()  # this process has none yet
        for handler in logging.getLogger().handlers:
            if isinstance(handler, ScreenHandler):
                handler.setLevel(logging.ERROR)
        if _launcher(config) == "JoblibLauncher":
            job_processes.end_with_parent()
            multiprocessing.set_start_method("spawn", force=True)  # torch does not know joblib's start method
            if config.trainer.accelerator != "cpu":
                job_processes.take_a_gpu()

    @exit_on_error()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the leaderboard. Exit with 1 if a job has no result."""
        if not self._planned:
            return  # the sweep was refused; Hydra 1.4 calls this anyway
        from digits.sweeps.leaderboard import rank
        from digits.sweeps.tables import print_table, write_files

        if self._progress:
            self._progress.finish()
        board = rank(Path(config.hydra.sweep.dir))
        print_table(board, write_files(board))
        if board.failures:
            sys.exit(EXIT_FAILED)
        Check.done = True

    def _settings(self, overrides: Sequence[str]) -> str:
        """The overrides that distinguish a job: those that not all jobs have."""
        return " ".join(word for word in overrides if not all(word in others for others in self.jobs))


class Progress(threading.Thread):
    """Reports the result of each job that another process runs, by looking into the run directories.

    Args:
        settings: The overrides that distinguish each job.
        runs: Their run directories.
        open_jobs: Numbers of the jobs without a result.
        at_once: How many run at the same time.
    """

    def __init__(self, settings: Sequence[str], runs: Sequence[Run], open_jobs: Iterable[int], at_once: int) -> None:
        super().__init__(daemon=True)
        self.settings = settings
        self.runs = runs
        self.at_once = at_once
        self._written = [changed_at(run.results_file) for run in runs]
        self._ended = set(range(len(runs))).difference(open_jobs)
        self._began = time.monotonic()
        self._seen = 0  # number of jobs that have ended since the start
        self._over = threading.Event()

    def run(self) -> None:
        """Poll until `finish`."""
        while not self._over.wait(POLL_SECONDS):
            self._look()
        self._look()

    def finish(self) -> None:
        """Report the remaining jobs and stop."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        for number, run in enumerate(self.runs):
            written = changed_at(run.results_file)
            if written and written != self._written[number]:
                self._written[number] = written
                self._ended.add(number)
                self._seen += 1
                done = max(self._seen, self.at_once)  # jobs that started together end at about the same time
                left = _time_left(time.monotonic() - self._began, done, len(self.runs) - len(self._ended))
                settings = f" ({self.settings[number]})" if self.settings[number] else ""
                outcome = _outcome(run)[0]
                say(f"Job {number + 1} of {len(self.runs)}{settings}: {outcome}; {len(self._ended)} done{left}")


def _outcome(run: Run) -> tuple[str, bool]:
    """The result of a run as text, and whether it has one."""
    try:
        results, state = run.outcome()
        return (f"{100 * results.metric:.2f} %", True) if results else (state, False)
    except (UserError, OSError) as error:
        return str(error), False


def _time_left(seconds: float, done: int, jobs: int) -> str:
    """Estimate the time that the remaining jobs take from the time of those that are done; empty if unknown."""
    return f", about {duration(seconds / done * jobs)} left" if done and jobs else ""


def at_once(config: DictConfig, jobs: int, processes: int) -> int:
    """Number of jobs to run at once; like joblib's n_jobs, -2 means one less than all.

    Args:
        config: The configuration of the sweep.
        jobs: Number of jobs.
        processes: Processes per job.
    """
    asked = int(config.hydra.launcher.n_jobs)
    if not asked:
        raise UserError("hydra.launcher.n_jobs=0 runs nothing; give how many jobs at once, or -1 for what fits.")
    fitting = job_processes.jobs_at_once(jobs, config.trainer.accelerator, processes)
    return asked if asked > 0 else max(1, fitting + 1 + asked)


def _check_same_directory(config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Refuse a directory that depends on the job: Hydra would start each job in a directory other than the sweep's."""
    pattern = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"])  # type: ignore[index,call-overload]
    if "${" not in re.sub(r"\$\{(now|oc\.env):[^}]*\}", "", pattern):
        return  # composing each job takes a while
    loader = GlobalHydra.instance().config_loader()
    for number, overrides in enumerate(jobs):
        with explaining(overrides):
            job = loader.load_sweep_config(config, list(overrides))
        with read_write(job.hydra.job), open_dict(job.hydra.job):
            job.hydra.job.id, job.hydra.job.num = str(number), number
        if OmegaConf.select(job, "hydra.sweep.dir") != config.hydra.sweep.dir:
            raise UserError(f"hydra.sweep.dir={pattern} depends on the job: name one directory for the whole sweep.")


def _check_jobs(config_name: str, jobs: Sequence[Sequence[str]], runs: Sequence[Run]) -> None:
    """Check each value of the sweep once, and each job whose run directory exists already."""
    for overrides, run in zip(jobs, runs, strict=True):
        exists = run.config_file.exists()
        # Besides existing runs, only jobs that differ from the first in one value: each combination would take long.
        if exists or len(set(overrides) - set(jobs[0])) <= 1:
            with explaining(overrides):
                cfg = resolve(compose(config_name, list(overrides)), multirun=True)
            try:
                run.check(cfg)
            except UserError as error:
                raise UserError(str(error).replace("hydra.run.dir", "hydra.sweep.dir")) from error


def jobs_of(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of a multirun, in the order in which Hydra's default sweeper numbers the jobs.

    Raises:
        UserError: If the sweep could not be resumed, or a value cannot be swept.
    """
    if any(word.startswith("hydra.sweep.subdir=") for word in config.hydra.overrides.hydra):
        raise UserError("hydra.sweep.subdir is fixed: the directory of a job is its number, by which a sweep resumes.")
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    overrides = parser.parse_overrides([*params, *config.hydra.overrides.task])
    for override in overrides:
        if getattr(override.value(), "shuffle", False):
            raise UserError(f"{override.input_line}: a sweep in random order cannot be resumed; write down the order.")
    try:
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
    except HydraException as error:
        raise UserError(f"the sweep is not possible: {first_line(error)}.") from error
    if not jobs:
        raise UserError("the sweep has no jobs: a pattern matches no option.")
    return jobs


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.launcher._target_).rpartition(".")[2]
