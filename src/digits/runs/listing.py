"""Prints the list of runs."""

from collections.abc import Sequence

from digits.console import duration, print_fitting, terminal
from digits.runs.find import Entry

FIRST_TO_GO = ("time", "data set", "notes", "tags", "validation")
"""Columns that a narrow terminal leaves out, in this order."""


def print_runs(entries: Sequence[Entry]) -> None:
    """Print a line per run; columns that are empty for all runs are left out."""
    rows = []
    for entry in entries:
        metrics = [""] * 4
        if done := entry.results:
            accuracies = [
                "" if value is None else f"{100 * value:.2f} %" for value in (done.val_accuracy, done.test_accuracy)
            ]
            metrics = [*accuracies, done.dataset["name"], duration(done.train_seconds)]
        when = entry.time.strftime("%Y-%m-%d %H:%M")
        rows.append([when, str(entry.path), entry.status, *metrics, " ".join(map(str, entry.tags)), entry.notes])
    header = ["when", "run", "status", "validation", "test", "data set", "time", "tags", "notes"]
    columns = [column for column in zip(header, *rows, strict=True) if any(column[1:])]
    print_fitting(terminal(), None, list(zip(*columns, strict=True)), FIRST_TO_GO)
