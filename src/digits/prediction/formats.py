"""The output of `digits predict`: a table for people, JSON or CSV for programs."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from digits.errors import printable
from digits.prediction.pictures import Answer

COLUMNS = (
    "picture",
    "status",
    "digit",
    "probability",
    "second",
    "second_probability",
    "third",
    "third_probability",
    "note",
)
ALTERNATIVES = 2  # digits shown after the likeliest

Writer = Callable[[Answer], None]  # prints one answer


def record(answer: Answer) -> dict[str, Any]:
    """The columns of an answer; probabilities from 0 to 1, None where nothing was read."""
    shown = 1 + ALTERNATIVES
    ranking = answer.prediction.ranking[:shown] if answer.prediction else [(None, None)] * shown
    values = [None if value is None else round(value, 6) for pair in ranking for value in pair]
    return dict(zip(COLUMNS, [answer.picture, answer.status, *values, answer.note], strict=True))


@contextmanager
def as_table() -> Iterator[Writer]:
    """Print a line per picture."""
    print(f"{'digit':>5}  {'probability':>11}  {'then':<20}  picture")

    def write(answer: Answer) -> None:
        digit, probability, then = "–", "", ""
        if answer.prediction:
            (first, chance), *others = answer.prediction.ranking[: 1 + ALTERNATIVES]
            digit, probability = str(first), f"{100 * chance:.2f} %"
            then = ", ".join(f"{other} {100 * likely:.2f} %" for other, likely in others)
        note = f"  ({answer.note})" if answer.note else ""
        print(f"{digit:>5}  {probability:>11}  {then:<20}  {printable(answer.picture)}{note}", flush=True)

    yield write


@contextmanager
def as_json() -> Iterator[Writer]:
    """Print a JSON array, with an object per line."""
    separator = "[\n"

    def write(answer: Answer) -> None:
        nonlocal separator
        print(separator + json.dumps(record(answer)), end="", flush=True)
        separator = ",\n"

    try:
        yield write
    finally:  # complete even if interrupted
        print("[]" if separator == "[\n" else "\n]")


@contextmanager
def as_csv() -> Iterator[Writer]:
    """Print CSV with a header."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    yield lambda answer: writer.writerow(record(answer))
