"""The jobs of a sweep: lists them from the command line, and checks them before the first one starts."""

import re
from collections.abc import Sequence

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # lists the jobs; it has no public name
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from digits.errors import UserError, first_line
from digits.overrides import explaining
from digits.runs.run import Run
from digits.validation import resolve


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


def check_same_directory(config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
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


def check_jobs(config_name: str, jobs: Sequence[Sequence[str]], runs: Sequence[Run]) -> None:
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
