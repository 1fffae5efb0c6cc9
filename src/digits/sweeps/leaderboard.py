"""Compares the jobs of sweeps: a row per configuration, with statistics over its seeds, the best first."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from digits.config import SAMPLE
from digits.errors import UserError
from digits.evaluation.metrics import Predictions, interval, read_predictions
from digits.runs.files import rounded
from digits.runs.results import FINISHED, PRUNED, Results
from digits.sweeps.collect import SEED, Job, collect, columns_of
from digits.sweeps.comparison import Comparison, compare_neighbours


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


@dataclass(frozen=True)
class Row:
    """One configuration, or one job that has no result.

    Attributes:
        settings: Overrides that differ between rows.
        jobs: Its jobs, one per seed.
        complete: Whether all its seeds have a result; a trial of a search that was given up lacks some.
    """

    settings: Mapping[str, str]
    jobs: Sequence[Job]
    complete: bool = True

    @property
    def done(self) -> list[Results]:
        """The results of its finished jobs; none if it is not complete."""
        return [job.results for job in self.jobs if job.results and self.complete]

    @property
    def status(self) -> str:
        """The status of its first job."""
        return self.jobs[0].status

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

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions of its best job; None if they are missing, unreadable or incomplete."""
        kept = read_predictions(self.best.run.path)
        return kept if kept and len(kept.labels) == self.done[0].dataset["test"] else None

    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the mean test accuracy."""
        accuracy = statistics.fmean(results.test_accuracy for results in self.done)
        return interval(accuracy, self.done[0].dataset["test"])


def order_of(done: Sequence[Results]) -> tuple[bool, bool, bool, float]:
    """Sort key of a row: MNIST before the sample, validated results first, the best mean first, none last."""
    if not done:
        return True, True, True, 0.0
    sampled, unvalidated = done[0].dataset["name"] == SAMPLE, done[0].val_accuracy is None
    return False, sampled, unvalidated, -statistics.fmean(results.metric for results in done)


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

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Whether each row that has a result differs from the next one by more than luck."""
        return compare_neighbours(self.ranked)

    @property
    def failures(self) -> int:
        """Number of jobs without a result, not counting trials that a search stopped early."""
        return sum(not row.done and not row.status.startswith((PRUNED, FINISHED)) for row in self.rows)

    def best(self) -> Job:
        """The best job of the best configuration.

        Raises:
            UserError: If no job has finished.
        """
        if not self.ranked:
            raise UserError(f"no job of {self.directory} has finished; the command that started it resumes it.")
        return self.ranked[0].best


def rank(*sweeps: Path, output: Path | None = None) -> Leaderboard:
    """Compare the jobs of sweeps, or single runs.

    Args:
        sweeps: Directories of sweeps, with a run directory per job, and run directories.
        output: Folder of the leaderboard's files; None for the directory of a single sweep, or ``leaderboard`` for
            several.

    Raises:
        UserError: If one of them has no job, or there is only a single run.
    """
    jobs = collect(sweeps)
    columns = columns_of(jobs)
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(f"{job.configuration()} {job.fingerprint()}", []).append(job.with_settings(columns))
    shows_seed = any(job.single for job in jobs)
    rows: list[Row] = []
    duplicates: dict[str, str] = {}
    for group in groups.values():
        if group[0].results:  # then all of them have results, on the same data
            of_seed = {job.config.get(SEED): job for job in reversed(group)}
            repeated = {job.name: first.name for job in group if (first := of_seed[job.config.get(SEED)]) is not job}
            duplicates |= repeated
            group = [job for job in group if job.name not in repeated]
            if len(group) >= group[0].seeds:
                rows.append(Row(_settings(group, shows_seed), group))
                continue
        rows += [Row(_settings([job], shows_seed), [job], complete=False) for job in group]
    rows.sort(key=lambda row: order_of(row.done))
    default = sweeps[0] if len(sweeps) == 1 else Path("leaderboard")
    return Leaderboard(output or default, rows, duplicates)


def _settings(jobs: Sequence[Job], shows_seed: bool) -> dict[str, str]:
    """The settings that the jobs of a row share, and their seeds if single runs are compared."""
    settings = dict(jobs[0].settings)
    if seeds := [seed for job in jobs if (seed := job.settings.get(SEED))]:
        settings[SEED] = ", ".join(seeds)
    return settings if shows_seed else {key: value for key, value in settings.items() if key != SEED}
