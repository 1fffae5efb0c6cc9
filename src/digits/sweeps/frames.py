"""Runs as pandas tables, for scripts and notebooks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from digits.runs.differences import differences, flat
from digits.runs.find import list_runs
from digits.runs.results import METRICS, Results
from digits.sweeps.collect import DATASET, collect, columns_of, distinguishing
from digits.sweeps.leaderboard import order_of

if TYPE_CHECKING:
    from pandas import DataFrame


def find_runs(*folders: str | Path, tag: str | None = None) -> "DataFrame":
    """Find all runs, newest first.

    Args:
        folders: Where to look, including all folders below; ``outputs`` and ``multirun`` by default.
        tag: Only runs with this word among their tags.

    Returns:
        A row per run: its directory (``run``), when it was written (``time``), its status, each configuration key in
        which the runs differ, its results (empty if it did not finish), tags and notes.

    Raises:
        UserError: If a folder does not exist.
    """
    entries = list_runs([Path(folder) for folder in folders], tag)
    keys = distinguishing(differences([entry.config for entry in entries]))
    rows = [
        {
            "run": str(entry.path),
            "time": entry.time,
            "status": entry.status,
            **_settings(entry.config, keys),
            **_metrics(entry.results),
            "tags": list(entry.tags),
            "notes": entry.notes,
        }
        for entry in entries
    ]
    return _frame(["run", "time", "status", *keys, DATASET, *METRICS, "tags", "notes"], rows)


def leaderboard(sweep: str | Path, *more: str | Path) -> "DataFrame":
    """Compare the jobs of sweeps, or single runs.

    Args:
        sweep: Directory of a sweep, with a run directory per job, or a run directory.
        more: More of them.

    Returns:
        A row per job, the best first: its run directory (``run``), its status, each key in which the jobs differ,
        and its results (empty if it did not finish). Jobs that differ only in the seed keep a row each.

    Raises:
        UserError: If a directory has no job of a sweep, or there is only a single run.
    """
    jobs = collect([Path(path) for path in (sweep, *more)])
    keys = [key for key in columns_of(jobs) if key != DATASET]
    jobs.sort(key=lambda job: order_of([job.results] if job.results else []))
    rows = [
        {
            "run": str(job.run.path),
            "status": job.status,
            **{key: _typed(word) for key, word in job.overrides.items() if key in keys},
            **_settings(job.config, keys),
            **_metrics(job.results),
        }
        for job in jobs
    ]
    return _frame(["run", "status", *keys, DATASET, *METRICS], rows)


def _typed(word: str) -> Any:
    """Parse a value of the command line as YAML: a job that has not started has no other value."""
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _settings(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The values of those keys that the configuration has."""
    values = dict(flat(config))
    return {key: values[key] for key in keys if key in values}


def _metrics(results: Results | None) -> dict[str, Any]:
    if results is None:
        return {}
    return {DATASET: results.dataset["name"], **{name: getattr(results, name) for name in METRICS}}


def _frame(columns: list[str], rows: list[dict[str, Any]]) -> "DataFrame":
    """A table without the columns that are empty in every row."""
    from pandas import DataFrame  # takes half a second, which a start must not wait for

    used = [name for name in columns if name in ("run", "status") or any(row.get(name) is not None for row in rows)]
    return DataFrame([{name: row.get(name) for name in used} for row in rows], columns=used)
