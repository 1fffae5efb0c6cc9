"""The output of `digits predict`: a table for people, JSON or CSV for programs."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from digits.errors import printable
from digits.model.spec import DIGITS
from digits.prediction.pictures import Answer

COLUMNS = (
    "picture",
    "status",
    "digit",
    "label",
    "probability",
    "second",
    "second_probability",
    "third",
    "third_probability",
    "note",
)
ALTERNATIVES = 2  # classes shown after the likeliest

Writer = Callable[[Answer], None]  # prints one answer


def record(answer: Answer) -> dict[str, Any]:
    """The columns of an answer; probabilities from 0 to 1, None where nothing was read.

    ``digit`` is the index of the class, and ``label`` its name. The alternatives are digits, or else names.
    """
    values: list[Any] = [None] * (len(COLUMNS) - 3)
    if prediction := answer.prediction:
        (first, probability), *others = prediction.ranking[: 1 + ALTERNATIVES]
        values = [first, prediction.label, round(probability, 6)]
        for other, likely in others:
            values += [other if prediction.classes == DIGITS else prediction.classes[other], round(likely, 6)]
        values += [None] * (len(COLUMNS) - 3 - len(values))
    return dict(zip(COLUMNS, [answer.picture, answer.status, *values, answer.note], strict=True))


@contextmanager
def as_table(classes: Sequence[str] = DIGITS) -> Iterator[Writer]:
    """Print a line per picture."""
    kind = "digit" if tuple(classes) == DIGITS else "class"
    width = max(len(kind), *map(len, classes))
    others_width = 18 + ALTERNATIVES * min(12, max(map(len, classes)))
    print(f"{kind:>{width}}  {'probability':>11}  {'then':<{others_width}}  picture")

    def write(answer: Answer) -> None:
        label, probability, then = "–", "", ""
        if answer.prediction:
            (_, chance), *others = answer.prediction.ranking[: 1 + ALTERNATIVES]
            label, probability = answer.prediction.label, f"{100 * chance:.2f} %"
            then = ", ".join(f"{classes[other]} {100 * likely:.2f} %" for other, likely in others)
        note = f"  ({answer.note})" if answer.note else ""
        print(
            f"{label:>{width}}  {probability:>11}  {then:<{others_width}}  {printable(answer.picture)}{note}",
            flush=True,
        )

    yield write


@contextmanager
def as_json(classes: Sequence[str] = DIGITS) -> Iterator[Writer]:
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
def as_csv(classes: Sequence[str] = DIGITS) -> Iterator[Writer]:
    """Print CSV with a header."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    yield lambda answer: writer.writerow(record(answer))
