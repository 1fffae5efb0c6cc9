"""All the runs there are, newest first."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from digits.errors import UserError
from digits.runs.files import changed_at
from digits.runs.find import SEARCHED
from digits.runs.run import FAILED, Results, Run

FILES = ("config.yaml", "results.json")  # by which a run is found; one that was refused has the second only


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        path: Its directory.
        time: When it began to be what it is: its results, or else its configuration, were written.
        status: ``finished``, ``unfinished``, or ``failed: `` or ``pruned: `` and why.
        results: What came out; None if it did not finish.
        tags: Words to find it by.
        notes: What to remember about it.
    """

    path: Path
    time: datetime.datetime
    status: str
    results: Results | None
    tags: Sequence[str]
    notes: str


def listed(folders: Sequence[Path] = (), tag: str | None = None) -> list[Entry]:
    """List runs, newest first.

    Args:
        folders: Where to look, in all folders below; ``outputs`` and ``multirun`` by default.
        tag: Only runs with this word among their tags.

    Raises:
        UserError: If a folder is not there.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}.")
    entries = [entry for folder in (folders or map(Path, SEARCHED)) for entry in _entries(folder)]
    chosen = [entry for entry in entries if tag is None or tag in entry.tags]
    return sorted(chosen, key=lambda entry: entry.time, reverse=True)


def _entries(folder: Path) -> Iterator[Entry]:
    for path in sorted({file.parent for name in FILES for file in folder.rglob(name) if file.parent.name != ".hydra"}):
        run = Run(path)
        time = datetime.datetime.fromtimestamp((changed_at(run.results_file) or changed_at(run.config_file)) / 1e9)
        try:
            config, (results, status) = run.config() or {}, run.outcome()
        except (UserError, OSError) as error:
            told = f"{error.filename} cannot be read: {error.strerror}" if isinstance(error, OSError) else error
            yield Entry(run.path, time, f"{FAILED}: {told}", None, [], "")
            continue
        tags = config.get("tags")
        yield Entry(
            run.path, time, status, results, tags if isinstance(tags, list) else [], str(config.get("notes") or "")
        )
