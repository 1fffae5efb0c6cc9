"""The output of a leaderboard: tables, CSV, JSON, plots, and a copy of the best run."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from digits.config import SAMPLE
from digits.console import print_fitting, terminal
from digits.errors import UserError
from digits.explanation import plots
from digits.explanation.drawing import png
from digits.runs.files import as_json, save, unfinished, writing
from digits.runs.results import METRICS
from digits.runs.rows import as_csv
from digits.sweeps.collect import SEED
from digits.sweeps.figures import figures, short, validated
from digits.sweeps.leaderboard import Leaderboard, Row, SeedStats

SHOWN = {
    "val_accuracy": ".4f",
    "test_accuracy": ".4f",
    "train_accuracy": ".4f",
    "val_loss": ".4f",
    "parameters": ",.0f",
    "multiply_adds": ",.0f",
    "epochs": "g",
    "train_seconds": ".1f",
}
"""The metrics of the table and their format; those with four decimals show their standard deviation."""
FIRST_TO_GO = ("train_seconds", "epochs", "val_loss", "multiply_adds", "parameters", "train_accuracy")
"""Columns that a narrow terminal leaves out, in this order; the files contain them."""
FIRST_COMPARISONS = 3
"""Neighbouring rows that are compared on the screen; the files compare all of them."""
ONE_SEED = "With a single seed, a difference between networks says nothing about their settings."
BY_TEST = "No validation set: ranked by test accuracy, so the best score is optimistic."
ONLY_IF_DIFFERENT = ("train_accuracy", "parameters", "multiply_adds")
"""Metrics that are shown only if rows differ in them."""


def write_files(board: Leaderboard) -> list[Path]:
    """Write ``leaderboard.csv``, ``.md`` and ``.json``, and the plots.

    Returns:
        The files.

    Raises:
        UserError: If one cannot be written.
    """
    header, *body = cells(board)
    lines = [_markdown(header), _markdown(["---"] * len(header)), *map(_markdown, body)]
    files: dict[str, str | bytes] = {
        "leaderboard.csv": as_csv([_flat(record) for record in records(board)]),
        "leaderboard.md": "\n".join(
            [*lines, *(f"\n{note}" for note in [*map(_sampling, board.ranked[:1]), *_compared(board), *_notes(board)])]
        )
        + "\n",
        "leaderboard.json": as_json(
            {"rows": list(records(board)), "comparisons": [asdict(each) for each in board.comparisons]}
        ),
        **{f"{name}.png": png(figure) for name, figure in figures(board.ranked)},
    }
    return [save(board.directory / name, content) for name, content in files.items()]


def write_importance(folder: Path, importances: Mapping[str, float]) -> list[Path]:
    """Write the importance of each key of a search, as ``importance.json`` and a plot; nothing if it is unknown."""
    if not importances:
        return []
    files: dict[str, str | bytes] = {
        "importance.json": as_json(importances),
        "importance.png": png(plots.bars("How much each key explains of the first epoch's accuracy", importances)),
    }
    return [save(folder / name, content) for name, content in files.items()]


def copy_best(board: Leaderboard, target: Path) -> None:
    """Copy the run directory of the best job.

    Raises:
        UserError: If the target exists, or cannot be written.
    """
    best = board.best()
    if target.exists():
        raise UserError(f"--copy {target} exists; name a new directory.")
    temporary = unfinished(target)
    with writing(target):
        try:
            shutil.copytree(best.run.path, temporary, symlinks=True)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def print_table(board: Leaderboard, files: Sequence[Path]) -> None:
    """Print the table, as far as the terminal has room for it, and the names of the files."""
    order = (
        "validation accuracy"
        if validated(board.rows) or not board.ranked
        else "test accuracy, without a validation set,"
    )
    console = terminal()
    print_fitting(console, f"Leaderboard, best {order} first", cells(board), FIRST_TO_GO)
    if board.ranked:
        console.print(_sampling(board.ranked[0]), highlight=False)
    compared = _compared(board)
    for sentence in compared[:FIRST_COMPARISONS]:
        console.print(sentence, highlight=False)
    if len(compared) > FIRST_COMPARISONS:
        console.print(f"leaderboard.md compares the next ranks too, {len(compared) - FIRST_COMPARISONS} more.")
    for note in _notes(board):
        console.print(note, style="bold", highlight=False)
    if board.failures:
        jobs = sum(len(row.jobs) for row in board.rows)
        console.print(f"{board.failures} of {jobs} jobs have no result.", style="bold red")
    names = ", ".join(path.name for path in files)
    console.print(f"Written to {board.directory}: {names}", soft_wrap=True, highlight=False)


def cells(board: Leaderboard) -> list[list[str]]:
    """The table as text; the first row is the header."""
    seeds = any(len(row.jobs) > 1 for row in board.rows)
    spreads = {name: [row.stats(name) for row in board.rows] for name in SHOWN}
    names = [
        name
        for name, found in spreads.items()
        if name not in ONLY_IF_DIFFERENT or len({spread.mean for spread in found if spread}) > 1
    ]
    table = [["rank", *board.rows[0].settings, *(["n"] if seeds else []), *names, "job", "status"]]
    for place, row in enumerate(board.rows):
        rank, n = (str(place + 1), str(len(row.jobs))) if row.done else ("", "")
        metrics = [_cell(spreads[name][place], SHOWN[name]) for name in names]
        jobs = ", ".join(job.name for job in row.jobs)
        if not row.done and SEED in row.jobs[0].settings:  # the seeds of a configuration that are not averaged
            jobs += f" (seed {row.jobs[0].settings[SEED]})"
        table.append([rank, *map(short, row.settings.values()), *([n] if seeds else []), *metrics, jobs, row.status])
    return table


def _cell(spread: SeedStats | None, form: str) -> str:
    """Format a metric, with its standard deviation if the format has four decimals: ``0.9912 ± 0.0004``."""
    if spread is None:
        return ""
    return f"{spread.mean:{form}}" + (f" ± {spread.std:.4f}" if form == ".4f" and spread.std is not None else "")


def records(board: Leaderboard) -> Iterator[dict[str, Any]]:
    """Each row with all its metrics, for JSON."""
    for rank, row in enumerate(board.rows, start=1):
        seeds = [seed for job in row.jobs if (seed := job.settings.get(SEED))]
        jobs = {"jobs": [job.name for job in row.jobs], **({"seeds": seeds} if seeds else {}), "status": row.status}
        if not row.done:
            yield {"settings": dict(row.settings), **jobs}
            continue
        metrics = {name: asdict(spread) for name in METRICS if (spread := row.stats(name))}
        low, high = row.interval()
        metrics["test_accuracy"].update(ci95_low=low, ci95_high=high)
        yield {"rank": rank, "settings": dict(row.settings), "n": len(row.jobs), **metrics, **jobs}


def _notes(board: Leaderboard) -> list[str]:
    """Remarks on the metrics."""
    sampled = [
        job.name for row in board.ranked for job in row.jobs if job.results and job.results.dataset["name"] == SAMPLE
    ]
    notes = []
    if sampled:
        which = (
            "all jobs" if len(sampled) == sum(len(row.jobs) for row in board.ranked) else f"job {', '.join(sampled)}"
        )
        notes.append(f"A SAMPLE of the digits, in {which}: these results do not compare with those of all of MNIST.")
    found = {job.results.dataset["name"] for row in board.ranked for job in row.jobs if job.results}
    names = sorted({"mnist" if name == SAMPLE else name for name in found})
    if len(names) > 1:
        notes.append(f"Rows are of different data ({', '.join(names)}): their accuracies do not compare.")
    if board.by_test and len(board.ranked) > 1:
        notes.append(BY_TEST)
    if any(each.images_p is not None and each.seeds_p is None for each in board.comparisons):
        notes.append(ONE_SEED)
    lacking = [row.best.run.path for row in board.ranked if row.predictions is None]
    if lacking and board.comparisons:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        notes.append(f"{lacking[0]}{more} cannot be compared by test images: digits evaluate {lacking[0]}")
    notes += [
        f"Job {name} has the configuration of job {first}, and is left out." for name, first in board.duplicates.items()
    ]
    return notes


def _sampling(row: Row) -> str:
    """What the first row's test accuracy says about digits in general."""
    accuracy = row.stats("test_accuracy")
    assert accuracy
    seeds = f", {accuracy.min:.4f} to {accuracy.max:.4f} over {len(row.jobs)} seeds" if accuracy.std is not None else ""
    digits = f"digits in general, of which these {row.done[0].dataset['test']:,} are a sample"
    low, high = row.interval()
    return f"First row: test accuracy {accuracy.mean:.4f}{seeds}; 95 % interval for {digits}: {low:.4f} to {high:.4f}."


def _compared(board: Leaderboard) -> list[str]:
    """Whether neighbouring rows differ by more than luck; a sentence or two for each pair that can be compared."""
    return [text for each in board.comparisons if (text := each.text())]


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the CSV file: the mean of a metric under its own name, its other statistics in columns of their own."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        if key == "settings":
            row.update(value)
        elif isinstance(value, Mapping):
            row[key] = value["mean"]
            row.update({f"{key}_{name}": part for name, part in value.items() if name != "mean"})
        else:
            row[key] = " ".join(value) if isinstance(value, list) else value
    return row


def _markdown(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"
