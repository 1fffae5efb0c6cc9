"""The jobs of a sweep side by side, best first."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from digits.errors import UserError
from digits.keys import shown
from digits.records import write
from digits.run import FAILED, FINISHED, UNFINISHED, Results, Run, differences, flat


@dataclass(frozen=True)
class Row:
    """One job.

    Attributes:
        job: Name of its run directory.
        settings: The keys in which the jobs differ, with their values.
        results: What came out; None if it did not finish.
        status: ``finished``, ``unfinished``, or ``failed: `` and why.
    """

    job: str
    settings: dict[str, str]
    results: Results | None
    status: str


@dataclass(frozen=True)
class Leaderboard:
    """The jobs of a sweep, best first.

    Attributes:
        directory: The sweep's directory.
        rows: Its jobs: the finished by their metric, then the others.
    """

    directory: Path
    rows: Sequence[Row]

    @property
    def failures(self) -> int:
        """Jobs without a result."""
        return sum(row.results is None for row in self.rows)

    def cells(self) -> list[list[str]]:
        """The table as text, the header first."""
        keys = list(self.rows[0].settings)
        table = [
            ["rank", *keys, "val_accuracy", "test_accuracy", "val_loss", "epochs", "train_seconds", "job", "status"]
        ]
        for rank, row in enumerate(self.rows, start=1):
            figures = [""] * 5
            if done := row.results:
                accuracies = _fraction(done.val_accuracy), _fraction(done.test_accuracy), _fraction(done.val_loss)
                figures = [*accuracies, str(done.epochs), f"{done.train_seconds:.1f}"]
            place = str(rank) if done else ""
            table.append([place, *(row.settings[key] for key in keys), *figures, row.job, row.status])
        return table

    def write(self) -> None:
        """Write ``leaderboard.csv`` and ``leaderboard.md`` into the sweep's directory."""
        header, *body = self.cells()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *body])
        write(self.directory / "leaderboard.csv", text.getvalue())
        lines = [_markdown(header), _markdown(["---"] * len(header)), *map(_markdown, body)]
        write(self.directory / "leaderboard.md", "\n".join(lines) + "\n")

    def print(self) -> None:
        """Print the table, and where its files are."""
        header, *body = self.cells()
        validated = any(row.results and row.results.val_accuracy is not None for row in self.rows)
        order = "validation accuracy" if validated else "test accuracy, for want of a validation set,"
        table = Table(title=f"Leaderboard, best {order} first", title_justify="left", box=None)
        for name in header:
            table.add_column(name, overflow="fold")
        for row in body:
            table.add_row(*row)
        console = Console()
        if not console.is_terminal:
            console.width = 200  # a pipe has no edge to wrap at
        console.print(table)
        if self.failures:
            console.print(f"{self.failures} of {len(self.rows)} jobs have no result.", style="bold red")
        console.print(
            f"Written to {self.directory}/leaderboard.csv and leaderboard.md", soft_wrap=True, highlight=False
        )


def leaderboard(directory: Path) -> Leaderboard:
    """Read the jobs of a sweep.

    Args:
        directory: A sweep's directory, with a run directory for each job.

    Raises:
        UserError: If there is no job in it.
    """
    runs = [Run(path) for path in sorted(directory.glob("*/"), key=_natural) if not path.name.startswith(".")]
    jobs = [(run, *_read(run)) for run in runs if run.config_file.exists() or run.results_file.exists()]
    if not jobs:
        raise UserError(f"{directory} holds no job of a sweep.")
    changed = _telling(differences([config for _, config, _, _ in jobs if config]))
    rows = [
        Row(
            job=run.path.name,
            settings={key: shown(dict(flat(config)).get(key)) if config else "" for key in changed},
            results=results,
            status=status,
        )
        for run, config, results, status in jobs
    ]
    best_first = sorted(rows, key=lambda row: -row.results.metric if row.results else 1.0)
    return Leaderboard(directory, best_first)


def _telling(changed: dict[str, tuple[Any, ...]]) -> list[str]:
    """The keys that tell the jobs apart: where jobs have other classes, not what each class has by default."""
    keys = []
    for key, values in changed.items():
        target = f"{key.rpartition('.')[0]}._target_"
        classes = changed.get(target, values if key == target else ())
        decided = classes and len(set(zip(classes, map(str, values), strict=True))) == len(set(classes))
        if key == target or not decided:
            keys.append(key)
    return keys


def _read(run: Run) -> tuple[dict[str, Any], Results | None, str]:
    """Configuration, results and status of a job; one that cannot be read has failed."""
    try:
        config, results, failure = run.config() or {}, run.results(), run.failure()
    except UserError as error:
        return {}, None, f"{FAILED}: {error}"
    if results:
        return config, results, FINISHED
    return config, None, f"{FAILED}: {failure}" if failure else UNFINISHED


def _natural(path: Path) -> tuple[int, int, str]:
    """Job 10 after job 9; names that are no numbers after those that are."""
    return (0, int(path.name), "") if path.name.isdigit() else (1, 0, path.name)


def _fraction(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
