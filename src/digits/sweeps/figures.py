"""The plots of a leaderboard."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from digits.errors import UserError
from digits.explanation import plots
from digits.sweeps.collect import DATASET, Job
from digits.sweeps.leaderboard import Row

log = logging.getLogger(__name__)

MAX_NUMBER_LENGTH, MAX_WORD_LENGTH = 8, 24  # characters


def figures(rows: Sequence[Row]) -> Iterator[tuple[str, Figure]]:
    """Draw the plots of a leaderboard, each with a name.

    Args:
        rows: Configurations with a result, the best first.
    """
    if not rows:
        return
    name, metric = ("val_accuracy", "Validation accuracy") if validated(rows) else ("test_accuracy", "Test accuracy")
    scored = [(row, spread) for row in rows if (spread := row.stats(name))]
    swept = [key for key in rows[0].settings if key != DATASET and len({row.settings[key] for row, _ in scored}) > 1]
    for key in swept:
        lines: dict[str, list[plots.Point]] = {}
        for row, spread in scored:
            others = _label({other: row.settings[other] for other in swept if other != key})
            lines.setdefault(others, []).append((row.settings[key], 100 * spread.mean, 100 * (spread.std or 0)))
        single_points = all(len(points) == 1 for points in lines.values())  # as in a search, where all keys differ
        if single_points:
            lines = {"": [point for points in lines.values() for point in points]}
        yield f"accuracy-{key.replace('/', '-')}", plots.against(key, metric, lines, joined=not single_points)
    if len(swept) > 1:
        values = [([short(row.settings[key]) for key in swept], 100 * spread.mean) for row, spread in scored]
        yield "settings", plots.parallel(metric, swept, values)
    fitted = [
        (_with_size(row), 100 * tested.mean, 100 * trained.mean)
        for row in rows
        if (trained := row.stats("train_accuracy")) and (tested := row.stats("test_accuracy"))
    ]
    if fitted:
        yield "overfitting", plots.gaps("Overfitting", ("test accuracy", "accuracy on the training set"), fitted)
    column = "val/accuracy" if validated(rows) else "train/accuracy"  # the test set is used once: it has no curve
    curves = [(_label(row.settings), _curve(job, column)) for row in rows for job in row.jobs]
    if any(len(points) > 1 for _, points in curves):
        title = "Validation accuracy" if validated(rows) else "Training accuracy"
        yield "curves", plots.together(title, [(name, points) for name, points in curves if points])


def short(value: str) -> str:
    """Shorten a value: numbers to four digits, words to their beginning. The files contain all of it."""
    if len(value) <= MAX_NUMBER_LENGTH or value.lstrip("-").isdecimal():
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value if len(value) <= MAX_WORD_LENGTH else f"{value[: MAX_WORD_LENGTH - 1]}…"


def validated(rows: Sequence[Row]) -> bool:
    """Whether any row has a validation accuracy."""
    return any(row.stats("val_accuracy") for row in rows)


def _label(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={short(value)}" for key, value in settings.items())


def _with_size(row: Row) -> str:
    """A configuration, and the size of its network."""
    sizes = {name.replace("_", "-"): row.stats(name) for name in ("parameters", "multiply_adds")}
    return "\n".join([_label(row.settings), *(f"{size.mean:,.0f} {name}" for name, size in sizes.items() if size)])


def _curve(job: Job, column: str) -> list[tuple[float, float]]:
    try:
        return [(row["epoch"] + 1, 100 * row[column]) for row in job.run.read_metrics() if column in row]
    except UserError as error:
        log.warning("The curve of job %s is left out: %s", job.name, error)
        return []
