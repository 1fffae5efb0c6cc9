"""Finds runs: the one that a user names (a run directory, ``latest`` or a checkpoint), or all of them."""

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digits.config import LATEST
from digits.errors import UserError, printable
from digits.runs.files import changed_at
from digits.runs.results import FAILED, PRUNED, Results
from digits.runs.run import Run

SEARCHED = ("outputs", "multirun")  # the default folders of runs, in the working directory
RUN_FILES = ("config.yaml", "results.json")  # a directory with one of them is a run; a refused job has only the second


@dataclass(frozen=True)
class Trained:
    """A trained network, and the folder for files made from it.

    Attributes:
        checkpoint: The file with its weights.
        home: Folder for files made from it, such as drawings: the run directory if the run tested this checkpoint,
            otherwise the checkpoint's own folder.
        run: The run; None for a checkpoint outside of one.
    """

    checkpoint: Path
    home: Path
    run: Run | None

    @property
    def results(self) -> Results | None:
        """The results of the training, if it tested this checkpoint; otherwise None."""
        return self.run.results if self.run and self.home == self.run.path else None

    def finished_run(self) -> tuple[Run, Results]:
        """The run and its results.

        Raises:
            UserError: If the checkpoint does not belong to a finished run.
        """
        results = self.run and self.run.results
        if not self.run or not results:
            raise UserError(f"{self.checkpoint} is not in the directory of a finished run, which this needs.")
        return self.run, results


def find(source: str | Path) -> Trained:
    """Find a trained network.

    Args:
        source: The directory of a finished run, ``latest`` for the newest under ``outputs`` and ``multirun``, or a
            checkpoint of any run.

    Raises:
        UserError: If it does not exist, or has not finished.
    """
    path = Path(source)
    if not str(source):
        raise UserError("an empty name is not a run directory or checkpoint.")
    if path.suffix == ".onnx":
        raise UserError(f"{path} is an exported network, which only predict takes; name the run or a checkpoint.")
    if path.is_dir():
        run = Run(path)
        if not run.results:
            raise UserError(_not_finished(run))
        if not run.best.exists():
            raise UserError(f"{path} has no checkpoints/best.ckpt any more.")
        return Trained(run.best, path, run)
    if path.is_file():
        run = Run(path.resolve().parent.parent)
        if not run.config_file.exists():
            return Trained(path, path.parent, None)
        return Trained(path, run.path if path.resolve() == run.best.resolve() else path.parent, run)
    if str(source) == LATEST:
        return find(_latest())
    has_results = any(run.results_file.exists() for run in _newest_first(map(Path, SEARCHED)))
    hint = " `latest` means the newest finished run." if has_results else ""
    raise UserError(f"there is no run directory or checkpoint {path}.{hint}")


def find_each(sources: Sequence[str]) -> list[Trained]:
    """Find several trained networks.

    Raises:
        UserError: If one does not exist, or is given twice.
    """
    trained = [find(source) for source in sources]
    for number, one in enumerate(trained):
        if any(one.checkpoint.samefile(other.checkpoint) for other in trained[:number]):
            raise UserError(f"{sources[number]} is given twice.")
    return trained


def _latest() -> Path:
    """The finished run with the newest results."""
    for run in _newest_first(map(Path, SEARCHED)):
        try:
            if run.results:
                return run.path
        except UserError:
            continue
    raise UserError(f"there is no finished run under {' or '.join(SEARCHED)} here; name one, or train: digits train")


def run_directories(folder: Path) -> list[Path]:
    """The runs in a folder and below it. Follows links, and lists each run once."""
    found: dict[Path, Path] = {}
    entered: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name != ".hydra")
        if (real := Path(place).resolve()) in entered:  # links may form a circle
            folders.clear()
        elif any(name in files for name in RUN_FILES):
            found.setdefault(real, Path(place))
        entered.add(real)
    return sorted(found.values())


def _newest_first(folders: Iterable[Path]) -> list[Run]:
    runs = [Run(path) for folder in folders for path in run_directories(folder)]
    return sorted(runs, key=_written_at, reverse=True)


def _written_at(run: Run) -> int:
    return changed_at(run.results_file) or changed_at(run.config_file)


def _not_finished(run: Run) -> str:
    state = run.state()
    if state.startswith((FAILED, PRUNED)):
        return f"{run.path} {'was ' if state.startswith(PRUNED) else ''}{state}"
    if run.last.exists():
        return f"{run.path} has not finished; the command that started it resumes it."
    if run.config_file.exists():
        return f"{run.path} has not finished its first epoch."
    if run.results_file.exists():
        return f"{run.results_file} was not written by digits: its status is {printable(state)}."
    jobs = [path for path in run_directories(run.path) if Run(path).results_file.exists()]
    hint = f" There are runs below it, such as {jobs[0]}." if jobs else ""
    return f"{run.path} is not a run directory.{hint}"


@dataclass(frozen=True)
class Entry:
    """A run in the list of runs.

    Attributes:
        path: The run directory.
        time: When its results were written, or else its configuration.
        status: ``finished``, ``unfinished``, or ``failed: `` or ``pruned: `` and the reason.
        results: Its results; None if it did not finish.
        config: Its configuration; empty if it cannot be read.
        tags: Words to find it by.
        notes: A remark to keep with it.
    """

    path: Path
    time: datetime.datetime
    status: str
    results: Results | None
    config: Mapping[str, Any]
    tags: Sequence[str]
    notes: str


def list_runs(folders: Sequence[Path] = (), tag: str | None = None) -> list[Entry]:
    """Find all runs, newest first.

    Args:
        folders: Where to look, including all folders below; ``outputs`` and ``multirun`` by default.
        tag: Only runs with this word among their tags.

    Raises:
        UserError: If a folder does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"the folder {folder} does not exist.")
    entries = [_entry(run) for run in _newest_first(folders or map(Path, SEARCHED))]
    return [entry for entry in entries if tag is None or tag in entry.tags]


def _entry(run: Run) -> Entry:
    time = datetime.datetime.fromtimestamp(_written_at(run) / 1e9)
    try:
        config, (results, status) = run.read_config() or {}, run.outcome()
    except (UserError, OSError) as error:
        message = f"{error.filename} cannot be read: {error.strerror}" if isinstance(error, OSError) else error
        config, results, status = {}, None, f"{FAILED}: {message}"
    tags = config.get("tags")
    words = tags if isinstance(tags, list) else []
    return Entry(run.path, time, status, results, config, words, str(config.get("notes") or ""))
