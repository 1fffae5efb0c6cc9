"""The plan of a sweep, ``sweep.json``: written before its first job starts; that of a search, at its end."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from digits.errors import UserError
from digits.runs.files import as_json, parsed, write
from digits.runs.run import IGNORED_KEYS

FILE = "sweep.json"
SEARCH_FILE = "search.json"  # the settings with which a search began
REMEDY = "Choose another hydra.sweep.dir, or use the original values."
Plan = dict[str, dict[int, dict[str, str]]]  # the content of the file


def write_plan(sweep: Path, jobs: Sequence[Sequence[str]] | Mapping[int, Sequence[str]]) -> None:
    """Write the plan of a sweep.

    Args:
        sweep: The sweep's directory.
        jobs: The overrides of each job, such as ``optimizer.lr=0.1``; a job runs in the directory of its number. A
            mapping has the numbers as keys.
    """
    write(sweep / FILE, as_json({"jobs": by_number(jobs)}))


def check(sweep: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Refuse a sweep that lacks a job of the plan, or changes one that has not started; additional jobs are allowed.

    Raises:
        UserError: Naming the first.
    """
    planned, now = read(sweep), by_number(jobs)
    for name, overrides in planned.items():
        if name not in now:
            raise UserError(f"{sweep} holds a sweep of {len(planned)} jobs, not of {len(now)}. {REMEDY}")
        expected, given = (
            {key: value for key, value in each.items() if key not in IGNORED_KEYS} for each in (overrides, now[name])
        )
        if expected != given and not (sweep / name / "config.yaml").exists():  # a started job has a config.yaml
            changed = " ".join(f"{key}={value}" for key, value in expected.items() if given.get(key) != value)
            added = ", ".join(key for key in given if key not in expected)
            difference = f"has {changed}" if changed else f"does not set {added}"
            raise UserError(f"{sweep} holds another sweep, whose job {name} {difference}. {REMEDY}")


def by_number(jobs: Sequence[Sequence[str]] | Mapping[int, Sequence[str]]) -> dict[str, dict[str, str]]:
    """The keys and values of each job, by the name of its directory."""
    numbered = jobs.items() if isinstance(jobs, Mapping) else enumerate(jobs)
    return {str(number): dict(word.lstrip("+").partition("=")[::2] for word in words) for number, words in numbered}


def read(sweep: Path) -> dict[str, Mapping[str, str]]:
    """Read the keys and values of each job of a sweep, by the name of its directory; empty without a plan.

    Raises:
        UserError: If the file is not one that a sweep writes.
    """
    try:
        jobs = parsed(Plan, (sweep / FILE).read_text(encoding="utf-8"))["jobs"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{sweep / FILE} cannot be read ({error}); delete it to continue without it.") from error
    return {str(name): job for name, job in jobs.items()}


def seeds_per_trial(sweep: Path) -> int:
    """Over how many trainings a trial of a search is averaged; 1 for a sweep."""
    try:
        seeds = json.loads((sweep / SEARCH_FILE).read_text(encoding="utf-8"))["seeds"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 1
    return seeds if isinstance(seeds, int) else 1
