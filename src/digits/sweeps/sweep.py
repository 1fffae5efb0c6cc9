"""The Hydra callback around a multirun: it checks and plans the jobs, reports progress and writes the leaderboard."""

import logging
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from digits.checks import Check, check_directory
from digits.console import ScreenHandler, say
from digits.errors import EXIT_FAILED, UserError
from digits.runs.run import Run
from digits.signals import exit_on_error, install_handlers
from digits.sweeps import job_processes, plan
from digits.sweeps.job_list import check_jobs, check_same_directory, jobs_of
from digits.sweeps.progress import Progress, outcome, time_left

log = logging.getLogger(__name__)


class Sweep(Callback):
    """Checks and plans a sweep, reports its progress, and writes the leaderboard. Hydra instantiates it from YAML.

    Each method ends the process on an error: Hydra would turn the error into a warning.
    """

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []
        self._process = os.getpid()
        self._open: list[int] = []  # numbers of the jobs that had no result at the start
        self._began = 0.0  # value of time.monotonic(); 0 until the sweep is planned
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
        check_same_directory(config, self.jobs)
        runs = [Run(directory / str(number)) for number, _ in enumerate(self.jobs)]
        check_jobs(config.hydra.job.config_name, self.jobs, runs)
        plan.check(directory, self.jobs)
        if _launcher(config) == "JoblibLauncher":
            self._limit_parallel_jobs(config)
        directory.mkdir(parents=True, exist_ok=True)
        plan.write_plan(directory, self.jobs)
        self._open = [number for number, run in enumerate(runs) if not outcome(run)[1]]
        if _launcher(config) != "BasicLauncher" and config.hydra.launcher.get("n_jobs") != 1:
            self._progress = self._report(config.hydra.launcher, runs)
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
            left = time_left(time.monotonic() - self._began, done, len(self._open) - done)
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
        if not self._began:
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

    def _limit_parallel_jobs(self, config: DictConfig) -> None:
        """Set how many jobs joblib runs at once, from the cores, the memory and the GPUs."""
        default = str(config.trainer.devices)
        devices = [overrides.get("trainer.devices", default) for overrides in plan.by_number(self.jobs).values()]
        processes = max(int(each) if each.isdecimal() else 1 for each in devices)
        with read_write(config.hydra):
            config.hydra.launcher.n_jobs = at_once(config, len(self.jobs), processes)
            config.hydra.launcher.update(batch_size="1", pre_dispatch="n_jobs")  # start in order
        if config.hydra.launcher.n_jobs > 1:
            job_processes.check_one_gpu_each(config.trainer.accelerator, devices)
        say(f"{len(self.jobs)} jobs, {config.hydra.launcher.n_jobs} at once")

    def _report(self, launcher: DictConfig, runs: Sequence[Run]) -> Progress:
        """Start to report the progress of parallel jobs."""
        parallel = int(launcher.get("n_jobs") or launcher.get("array_parallelism") or len(runs))
        parallel = min(parallel, max(1, len(self._open)))
        progress = Progress([self._settings(overrides) for overrides in self.jobs], runs, self._open, parallel)
        progress.start()
        return progress

    def _settings(self, overrides: Sequence[str]) -> str:
        """The overrides that distinguish a job: those that not all jobs have."""
        return " ".join(word for word in overrides if not all(word in others for others in self.jobs))


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


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.launcher._target_).rpartition(".")[2]
