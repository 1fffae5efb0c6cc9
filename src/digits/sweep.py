"""A sweep, from its plan to its leaderboard: what Hydra calls around the jobs of a multirun."""

import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # whose way of making jobs this has to be
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from digits import config as configuration
from digits import parallel, plan
from digits.console import ScreenHandler, duration
from digits.errors import EXIT_FAILED, UserError, exit_codes, listen
from digits.run import Run

log = logging.getLogger(__name__)
ALL = -1  # of the processors, as joblib has it; its launcher's default


class Sweep(Callback):
    """Begins a sweep with its plan, says how far it is, and ends it with the leaderboard; Hydra makes it from YAML."""

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []
        self._process = os.getpid()
        self._ended = 0  # jobs
        self._began: float | None = None  # when the present job did, unless it has been done before
        self._times: list[float] = []  # seconds of jobs

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the plan; refuse the sweep whole if the directory of a job holds a run of another configuration."""
        for name in ("hydra", "hydra_plugins"):  # the same is said below, with what is left
            logging.getLogger(name).setLevel(logging.WARNING)
        directory = Path(config.hydra.sweep.dir)
        with exit_codes():  # Hydra would make a warning of an error
            self.jobs = jobs_of(config)
            for number, words in enumerate(self.jobs):
                run = Run(directory / str(number))
                if run.config_file.exists():
                    job = configuration.check(compose(config.hydra.job.config_name, words), multirun=True)
                    try:
                        run.check(job)
                    except UserError as error:
                        raise UserError(str(error).replace("hydra.run.dir", "hydra.sweep.dir")) from error
            directory.mkdir(parents=True, exist_ok=True)
            plan.write_plan(directory, self.jobs)
        if _launcher(config) == "JoblibLauncher":
            with read_write(config):
                if config.hydra.launcher.n_jobs == ALL:
                    config.hydra.launcher.n_jobs = parallel.jobs_at_once(len(self.jobs), config.trainer.accelerator)
                config.hydra.launcher.update(batch_size="1", pre_dispatch="n_jobs")  # so that they begin in order
            print(f"{len(self.jobs)} jobs, {config.hydra.launcher.n_jobs} at once", flush=True)
        HydraConfig.instance().set_config(config)  # for whoever is interrupted between jobs, or while others run them

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say which job begins, and how long it will take with the others; in parallel, that it has to be silent."""
        if not self.jobs:
            return  # a single run
        done_before = Run(Path(config.hydra.runtime.output_dir)).results_file.exists()
        self._began = None if done_before else time.monotonic()
        if os.getpid() == self._process:
            log.info("\nJob %d of %d%s: %s", config.hydra.job.num + 1, len(self.jobs), self._left(), self._told(config))
            return
        if _launcher(config) == "LocalLauncher":  # which begins all of them at once; joblib sees to it by itself
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        listen()  # to signals, in a process that is another's
        for handler in logging.getLogger().handlers:
            if isinstance(handler, ScreenHandler):
                handler.setLevel(logging.ERROR)
        if _launcher(config) == "JoblibLauncher":
            parallel.end_with_parent()
            if config.trainer.accelerator != "cpu":
                parallel.take_a_gpu()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Count it; in a process of its own, say what came of it, and how far the sweep is."""
        self._ended += 1
        if self._began is not None:
            self._times.append(time.monotonic() - self._began)
        if not self.jobs or os.getpid() == self._process:
            return
        run = Run(Path(config.hydra.runtime.output_dir))
        try:
            results, state = run.results(), run.state()
        except UserError as error:
            results, state = None, str(error)
        told = f"{100 * results.metric:.2f} %" if results else state
        ended = sum(Run(run.path.parent / str(job)).results_file.exists() for job in range(len(self.jobs)))
        name = f"Job {config.hydra.job.num + 1} of {len(self.jobs)} ({self._told(config)})"
        print(f"{name}: {told}; {ended} have ended", flush=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the leaderboard; a job without a result makes the exit code 1."""
        from digits.comparison import print_table, write_files
        from digits.leaderboard import leaderboard

        with exit_codes():
            board = leaderboard(Path(config.hydra.sweep.dir))
            print_table(board, write_files(board))
        if board.failures:
            sys.exit(EXIT_FAILED)

    def _told(self, config: DictConfig) -> str:
        """What this job was told and others were told otherwise."""
        return " ".join(word for word in config.hydra.overrides.task if not all(word in words for words in self.jobs))

    def _left(self) -> str:
        if not self._times:
            return ""
        return f", about {duration(statistics.fmean(self._times) * (len(self.jobs) - self._ended))} left"


def jobs_of(config: DictConfig) -> list[list[str]]:
    """The words of each job of a multirun, in the order of their numbers, as Hydra's own sweeper makes them."""
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    words = parser.parse_overrides([*params, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(words, None)
    return jobs


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.launcher._target_).rpartition(".")[2]
