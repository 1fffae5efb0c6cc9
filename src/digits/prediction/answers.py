"""How `digits predict` says what it read: a line each for people, JSON or CSV for programs."""

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
NEXT = 2  # digits told after the likeliest


Writer = Callable[[Answer], None]  # prints one answer


def record(answer: Answer) -> dict[str, Any]:
    """An answer as a program reads it; probabilities 0 to 1, None where nothing was read."""
    ranking = answer.prediction.ranking[: 1 + NEXT] if answer.prediction else [(None, None)] * (1 + NEXT)
    values = [None if value is None else round(value, 6) for pair in ranking for value in pair]
    return dict(zip(COLUMNS, [answer.picture, answer.status, *values, answer.note], strict=True))


@contextmanager
def as_table() -> Iterator[Writer]:
    """A line for each picture, as it comes."""
    print(f"{'digit':>5}  {'probability':>11}  {'then':<20}  picture")

    def write(answer: Answer) -> None:
        digit, probability, then = "–", "", ""
        if answer.prediction:
            (first, chance), *others = answer.prediction.ranking[: 1 + NEXT]
            digit, probability = str(first), f"{100 * chance:.2f} %"
            then = ", ".join(f"{other} {100 * likely:.2f} %" for other, likely in others)
        note = f"  ({answer.note})" if answer.note else ""
        print(f"{digit:>5}  {probability:>11}  {then:<20}  {printable(answer.picture)}{note}", flush=True)

    yield write


@contextmanager
def as_json() -> Iterator[Writer]:
    """A JSON array, an object on each line."""
    separator = "[\n"

    def write(answer: Answer) -> None:
        nonlocal separator
        print(separator + json.dumps(record(answer), ensure_ascii=False), end="", flush=True)
        separator = ",\n"

    try:
        yield write
    finally:  # whole, also where it was cut short
        print("[]" if separator == "[\n" else "\n]")


@contextmanager
def as_csv() -> Iterator[Writer]:
    """CSV with a header."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    yield lambda answer: writer.writerow(record(answer))
