"""Tables as CSV, such as ``metrics.csv``: a row per epoch."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from digits.errors import UserError
from digits.runs.files import write


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as CSV with a header; a value that a row lacks is an empty cell."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the metrics of each epoch."""
    write(path, as_csv(rows))


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read the metrics of each epoch; empty without the file.

    Raises:
        UserError: If the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{key: json.loads(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        if any(
            "epoch" not in row
            or not all(isinstance(value, int | float) and math.isfinite(value) for value in row.values())
            for row in rows
        ):
            raise ValueError("it is not a table of numbers with a column epoch")
    except (OSError, ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}; delete it to continue without it.") from error
    return rows
