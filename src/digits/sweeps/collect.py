"""Collects jobs of sweeps and single runs, and finds the keys in which they differ."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from digits.config import LATEST
from digits.errors import UserError, shown
from digits.runs.differences import differences, flat
from digits.runs.files import natural
from digits.runs.find import RUN_FILES, find
from digits.runs.results import FAILED, Results
from digits.runs.run import IGNORED_KEYS, Run
from digits.sweeps import plan

SEED = "seed"  # statistics are computed over the values of this key
MISSING = "missing"  # status of a job that has not started
DATASET = "dataset"  # column that separates results on different data


@dataclass(frozen=True)
class Job:
    """A job of a sweep, or a single run.

    Attributes:
        name: Name of its run directory, with the sweep's name if there are several sweeps.
        run: Its run directory.
        overrides: Its overrides as typed; empty without a plan.
        config: Its configuration; empty before it starts, and if it cannot be read.
        results: Its results; None if it did not finish.
        status: ``finished``, ``unfinished``, ``missing``, or ``failed: `` or ``pruned: `` and the reason.
        single: Whether the user named the run itself: it is not averaged with others.
        seeds: How many results its configuration needs; more than 1 in a search with several seeds.
        settings: Its values of the keys that differ between the jobs of a leaderboard, including the seed.
    """

    name: str
    run: Run
    overrides: Mapping[str, str]
    config: Mapping[str, Any]
    results: Results | None
    status: str
    single: bool = False
    seeds: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _flat(self) -> dict[str, Any]:
        return dict(flat(self.config))

    def configuration(self) -> str:
        """A text that is equal for jobs that differ only in the seed and in keys that do not change the result."""
        kept = {key: value for key, value in self._flat.items() if key not in (SEED, *IGNORED_KEYS)}
        return self.name if self.single else json.dumps(kept or self.name, sort_keys=True)

    def fingerprint(self) -> str:
        """The fingerprint of the data of a finished job."""
        return str(self.results.dataset["fingerprint"]) if self.results else ""

    def value(self, key: str) -> str:
        """The value of a key, as a user types it."""
        if key == DATASET:
            return str(self.results.dataset["name"]) if self.results else ""
        value = self._flat.get(key)
        if value is None and (typed := self.overrides.get(key)):
            return typed  # such as scheduler=none, which is null in the configuration
        return shown(value) if key in self._flat else ""

    def with_settings(self, columns: Sequence[str]) -> "Job":
        """The job, with its values of some keys as its settings."""
        return replace(self, settings={key: self.value(key) for key in columns})


def collect(sweeps: Sequence[Path]) -> list[Job]:
    """Find the jobs of sweeps, each sweep once; a run directory counts as one job.

    Args:
        sweeps: Directories of sweeps and of runs; ``latest`` is the newest finished run.

    Raises:
        UserError: If a directory has no job, or the only one is a run directory.
    """
    named = [find(path).home if str(path) == LATEST and not path.exists() else path for path in sweeps]
    sweeps = list({path.resolve(): path for path in named}.values())
    if len(sweeps) == 1 and _is_run(sweeps[0]):
        raise UserError(f"{sweeps[0]} is a single run: name another one to compare it with, or a sweep.")
    return [each for sweep, prefix in zip(sweeps, _prefixes(sweeps), strict=True) for each in _find(sweep, prefix)]


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in RUN_FILES)


def _prefixes(sweeps: Sequence[Path]) -> list[str]:
    """Prefixes that distinguish the jobs of several sweeps: their names, or the parts of their paths that differ."""
    if len(sweeps) == 1:
        return [""]
    paths = [sweep.resolve() for sweep in sweeps]
    if len({path.name for path in paths}) == len(paths):
        return [f"{path.name}/" for path in paths]
    common = os.path.commonpath([path.parent for path in paths])
    return [f"{path.relative_to(common)}/" for path in paths]


def _find(sweep: Path, prefix: str) -> list[Job]:
    if not sweep.is_dir():
        raise UserError(f"the directory {sweep} does not exist.")
    if _is_run(sweep):
        return [Job(prefix.rstrip("/"), Run(sweep), {}, *_read(Run(sweep)), single=True)]
    planned, seeds = plan.read(sweep), plan.seeds_per_trial(sweep)
    started = {path.name for path in sweep.glob("[!.]*/") if _is_run(path)}
    jobs = []
    for name in sorted({*started, *planned}, key=natural):
        run = Run(sweep / name)
        state = _read(run) if name in started else ({}, None, MISSING)
        jobs.append(Job(f"{prefix}{name}", run, planned.get(name, {}), *state, seeds=seeds))
    if not jobs:
        raise UserError(f"{sweep} has no job of a sweep.")
    return jobs


def _read(run: Run) -> tuple[dict[str, Any], Results | None, str]:
    """Configuration, results and status of a job; an unreadable one counts as failed."""
    try:
        return run.read_config() or {}, *run.outcome()
    except UserError as error:
        return {}, None, f"{FAILED}: {error}"


def columns_of(jobs: Sequence[Job]) -> list[str]:
    """The keys that distinguish the jobs: those on the command line, or else those that differ."""
    typed = dict.fromkeys(key for job in jobs for key in job.overrides)
    columns = [key for key in typed if key not in IGNORED_KEYS and len({job.value(key) for job in jobs}) > 1]
    distinct = {tuple(job.value(key) for key in columns if key != SEED) for job in jobs if job.config}
    if not all(job.overrides for job in jobs) or len(distinct) < len(
        {job.configuration() for job in jobs if job.config}
    ):
        columns = distinguishing(differences([job.config for job in jobs if job.config]))
    if len({job.value(DATASET) for job in jobs if job.results}) > 1:
        columns.append(DATASET)
    return columns


def distinguishing(changed: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """The keys that distinguish configurations; for different classes, the class and not its default arguments."""
    keys = []
    for key, values in changed.items():
        target = f"{key.rpartition('.')[0]}._target_"
        classes = changed.get(target, values if key == target else ())
        fixed_by_class = classes and len(set(zip(classes, map(str, values), strict=True))) == len(set(classes))
        if key not in IGNORED_KEYS and (key == target or not fixed_by_class):
            keys.append(key)
    return keys
