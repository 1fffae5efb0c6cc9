"""Compares the jobs of sweeps: a row per configuration, with statistics over its seeds, the best first."""

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from digits.config import SAMPLE
from digits.errors import UserError, shown
from digits.evaluation.metrics import interval
from digits.runs.differences import differences, flat
from digits.runs.files import rounded
from digits.runs.results import FAILED, PRUNED, Results
from digits.runs.run import IGNORED_KEYS, Run
from digits.sweeps import plan

SEED = "seed"  # the key over whose values statistics are computed
MISSING = "missing"  # status of a job that has not started
DATASET = "dataset"  # column that separates results on different data


@dataclass(frozen=True)
class SeedStats:
    """Statistics of a metric over several seeds.

    Attributes:
        mean: Mean.
        std: Sample standard deviation (n - 1 in the denominator); None for a single value.
        min: Smallest.
        max: Largest.
    """

    mean: float
    std: float | None
    min: float
    max: float

    def __format__(self, form: str) -> str:
        """The mean, and the standard deviation where there is one: ``0.9912 ± 0.0004``."""
        return f"{self.mean:{form}}" if self.std is None else f"{self.mean:{form}} ± {self.std:{form}}"


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: Name of its run directory, with the sweep's name if there are several sweeps.
        run: Its run directory.
        settings: Overrides that differ between jobs, including the seed.
        results: Its results; None if it did not finish.
        status: ``finished``, ``unfinished``, ``missing``, or ``failed: `` or ``pruned: `` and the reason.
    """

    name: str
    run: Run
    settings: Mapping[str, str]
    results: Results | None
    status: str


@dataclass(frozen=True)
class Row:
    """One configuration, or one job that has no result.

    Attributes:
        settings: Overrides that differ between rows.
        jobs: Its jobs, one per seed.
    """

    settings: Mapping[str, str]
    jobs: Sequence[Job]

    @property
    def done(self) -> list[Results]:
        """The results of its finished jobs."""
        return [job.results for job in self.jobs if job.results]

    @property
    def status(self) -> str:
        """The status of its first job."""
        return self.jobs[0].status

    @property
    def order(self) -> tuple[bool, bool, bool, float]:
        """Sort key: MNIST before the sample, validation accuracy before test accuracy, best first, unfinished last."""
        if not self.done:
            return True, True, True, 0.0
        sampled, unvalidated = self.done[0].dataset["name"] == SAMPLE, self.done[0].val_accuracy is None
        return False, sampled, unvalidated, -statistics.fmean(results.metric for results in self.done)

    @property
    def best(self) -> Job:
        """The job with the best metric."""
        return max(self.jobs, key=lambda job: job.results.metric if job.results else -math.inf)

    def stats(self, name: str) -> SeedStats | None:
        """Statistics of one of the results over the seeds; None if the results do not contain it."""
        values = [value for results in self.done if (value := getattr(results, name)) is not None]
        if not values:
            return None
        std = rounded(statistics.stdev(values)) if len(values) > 1 else None
        return SeedStats(rounded(statistics.fmean(values)), std, min(values), max(values))

    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the mean test accuracy."""
        accuracy = statistics.fmean(results.test_accuracy for results in self.done)
        return interval(accuracy, self.done[0].dataset["test"])


@dataclass(frozen=True)
class Leaderboard:
    """The jobs of sweeps, best configuration first.

    Attributes:
        directory: Folder of its files.
        rows: The configurations with a result, best first, then the jobs without one.
        duplicates: Each job with the same configuration and seed as another one, and the one that is kept.
    """

    directory: Path
    rows: Sequence[Row]
    duplicates: Mapping[str, str]

    @property
    def ranked(self) -> list[Row]:
        """The rows that have a result."""
        return [row for row in self.rows if row.done]

    @property
    def by_test(self) -> bool:
        """Whether rows are ranked by test accuracy, because there is no validation set."""
        done = [results for row in self.ranked for results in row.done]
        return len(done) > 1 and done[0].val_accuracy is None

    @property
    def failures(self) -> int:
        """Number of jobs without a result, not counting trials that a search stopped early."""
        return sum(not row.done and not row.status.startswith(PRUNED) for row in self.rows)

    def best(self) -> Job:
        """The best job of the best configuration.

        Raises:
            UserError: If no job has finished.
        """
        if not self.ranked:
            raise UserError(f"no job of {self.directory} has finished; the command that started it resumes it.")
        return self.ranked[0].best


def leaderboard(*sweeps: Path, output: Path | None = None) -> Leaderboard:
    """Compare the jobs of sweeps.

    Args:
        sweeps: Their directories, with a run directory per job.
        output: Folder of the leaderboard's files; None for the directory of a single sweep, or ``leaderboard`` for
            several.

    Raises:
        UserError: If one of them has no job.
    """
    sweeps = tuple({sweep.resolve(): sweep for sweep in sweeps}.values())  # each once
    found = [each for sweep, prefix in zip(sweeps, _prefixes(sweeps), strict=True) for each in _find(sweep, prefix)]
    groups: dict[str, list[_Found]] = {}
    for each in found:
        groups.setdefault(f"{each.configuration()} {each.fingerprint()}", []).append(each)
    columns = _columns(found)
    rows: list[Row] = []
    duplicates: dict[str, str] = {}
    for group in groups.values():
        by_seed = {each.config.get(SEED): each for each in reversed(group) if each.results}
        duplicates |= {
            each.name: first.name
            for each in group
            if each.results and (first := by_seed[each.config.get(SEED)]) is not each
        }
        finished = [each.job(columns) for each in group if by_seed.get(each.config.get(SEED)) is each]
        others = [each.job(columns) for each in group if not each.results]
        shown_settings = {key: value for key, value in group[0].job(columns).settings.items() if key != SEED}
        rows += [Row(shown_settings, finished)] if finished else []
        rows += [Row(shown_settings, [job]) for job in others]
    rows.sort(key=lambda row: row.order)
    default = sweeps[0] if len(sweeps) == 1 else Path("leaderboard")
    return Leaderboard(output or default, rows, duplicates)


@dataclass(frozen=True)
class _Found:
    """A job as found in the directory of a sweep."""

    name: str
    run: Run
    overrides: Mapping[str, str]  # as typed; empty without a plan
    config: Mapping[str, Any]
    results: Results | None
    status: str

    @cached_property
    def _flat(self) -> dict[str, Any]:
        return dict(flat(self.config))

    def configuration(self) -> str:
        """Equal for jobs that differ only in the seed and in keys that do not change the result."""
        kept = {key: value for key, value in self._flat.items() if key not in (SEED, *IGNORED_KEYS)}
        return json.dumps(kept or self.name, sort_keys=True)

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

    def job(self, columns: Sequence[str]) -> Job:
        return Job(self.name, self.run, {key: self.value(key) for key in columns}, self.results, self.status)


def _prefixes(sweeps: Sequence[Path]) -> list[str]:
    """Prefixes that distinguish the jobs of several sweeps: their names, or the parts of their paths that differ."""
    if len(sweeps) == 1:
        return [""]
    paths = [sweep.resolve() for sweep in sweeps]
    if len({path.name for path in paths}) == len(paths):
        return [f"{path.name}/" for path in paths]
    common = os.path.commonpath([path.parent for path in paths])
    return [f"{path.relative_to(common)}/" for path in paths]


def _find(sweep: Path, prefix: str) -> list[_Found]:
    if not sweep.is_dir():
        raise UserError(f"there is no directory {sweep}.")
    planned = plan.read(sweep)
    runs = {path.name: Run(path) for path in sweep.glob("*/") if not path.name.startswith(".")}
    there = {name: run for name, run in runs.items() if run.config_file.exists() or run.results_file.exists()}
    missing = {name: Run(sweep / name) for name in planned if name not in there}
    if not there and not missing:
        raise UserError(f"{sweep} has no job of a sweep.")
    return [
        _Found(f"{prefix}{name}", run, planned.get(name, {}), *(_read(run) if name in there else ({}, None, MISSING)))
        for name, run in sorted({**there, **missing}.items(), key=lambda item: _natural(item[0]))
    ]


def _read(run: Run) -> tuple[dict[str, Any], Results | None, str]:
    """Configuration, results and status of a job; an unreadable one counts as failed."""
    try:
        return run.config() or {}, *run.outcome()
    except UserError as error:
        return {}, None, f"{FAILED}: {error}"


def _columns(found: Sequence[_Found]) -> list[str]:
    """The keys that distinguish the jobs: those on the command line, or else those that differ."""
    typed = dict.fromkeys(key for each in found for key in each.overrides)
    columns = [key for key in typed if key not in IGNORED_KEYS and len({each.value(key) for each in found}) > 1]
    distinct = {tuple(each.value(key) for key in columns if key != SEED) for each in found if each.config}
    if not all(each.overrides for each in found) or len(distinct) < len(
        {each.configuration() for each in found if each.config}
    ):
        columns = _distinguishing(differences([each.config for each in found if each.config]))
    if len({each.value(DATASET) for each in found if each.results}) > 1:
        columns.append(DATASET)
    return columns


def _distinguishing(changed: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """The keys that distinguish configurations; for different classes, the class and not its default arguments."""
    keys = []
    for key, values in changed.items():
        target = f"{key.rpartition('.')[0]}._target_"
        classes = changed.get(target, values if key == target else ())
        decided = classes and len(set(zip(classes, map(str, values), strict=True))) == len(set(classes))
        if key not in IGNORED_KEYS and (key == target or not decided):
            keys.append(key)
    return keys


def _natural(name: str) -> tuple[int, int, str]:
    """Sort key: job 10 after job 9, and other names after numbers."""
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)
