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
from digits.prediction.predict import Prediction
from digits.prediction.rows import Symbol

CHANCES = ("probability", "second", "second_probability", "third", "third_probability")
COLUMNS = ("picture", "status", "digit", "label", *CHANCES, "note")
ROW_COLUMNS = ("picture", "status", "text", "probability", "note")
ALTERNATIVES = 2  # number of classes shown after the likeliest
TEXT_WIDTH = 14  # of a row

Writer = Callable[[Answer], None]  # prints one answer


def record(answer: Answer) -> dict[str, Any]:
    """The columns of an answer; probabilities from 0 to 1, None where nothing was read.

    ``digit`` is the index of the class, and ``label`` its name. The alternatives are digits, or names of classes.
    """
    prediction = answer.prediction
    first = (prediction.digit, prediction.label) if prediction else (None, None)
    values = [answer.picture, answer.status, *first, *_chances(prediction), answer.note]
    return dict(zip(COLUMNS, values, strict=True))


def row_record(answer: Answer) -> dict[str, Any]:
    """The columns of a row; the probability is the lowest of its digits."""
    row = answer.row
    values = [answer.picture, answer.status, *((row.text, round(row.probability, 6)) if row else (None, None))]
    return dict(zip(ROW_COLUMNS, [*values, answer.note], strict=True))


def full_row_record(answer: Answer) -> dict[str, Any]:
    """The columns of a row, and each symbol with its box: left, upper, right and lower edge in pixels."""
    return {**row_record(answer), "symbols": [_symbol(symbol) for symbol in answer.row.symbols] if answer.row else []}


def _symbol(symbol: Symbol) -> dict[str, Any]:
    status = symbol.prediction.status if symbol.prediction else None
    chances = dict(zip(CHANCES, _chances(symbol.prediction), strict=True))
    familiarity = round(symbol.prediction.familiarity, 3) if symbol.prediction else None
    place = {"text": symbol.text, "box": list(symbol.box), "at_edge": symbol.is_at_edge}
    return {**place, "status": status, "familiarity": familiarity, **chances}


def _chances(prediction: Prediction | None) -> list[Any]:
    values: list[Any] = []
    if prediction:
        (_, probability), *others = prediction.ranking[: 1 + ALTERNATIVES]
        values = [round(probability, 6)]
        for other, chance in others:
            values += [other if prediction.classes == DIGITS else prediction.classes[other], round(chance, 6)]
    return values + [None] * (len(CHANCES) - len(values))


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
            then = ", ".join(f"{classes[other]} {100 * chance:.2f} %" for other, chance in others)
        print(f"{label:>{width}}  {probability:>11}  {then:<{others_width}}  {_named(answer)}", flush=True)

    yield write


@contextmanager
def as_row_table() -> Iterator[Writer]:
    """Print a line per picture: the row, and the lowest probability of its digits."""
    print(f"{'row':<{TEXT_WIDTH}}  {'probability':>11}  picture")

    def write(answer: Answer) -> None:
        text, probability = (answer.row.text, f"{100 * answer.row.probability:.2f} %") if answer.row else ("–", "")
        print(f"{text:<{TEXT_WIDTH}}  {probability:>11}  {_named(answer)}", flush=True)

    yield write


def _named(answer: Answer) -> str:
    return f"{printable(answer.picture)}{f'  ({answer.note})' if answer.note else ''}"


@contextmanager
def as_json(recorded: Callable[[Answer], dict[str, Any]] = record) -> Iterator[Writer]:
    """Print a JSON array, with an object per line."""
    separator = "[\n"

    def write(answer: Answer) -> None:
        nonlocal separator
        print(separator + json.dumps(recorded(answer)), end="", flush=True)
        separator = ",\n"

    try:
        yield write
    finally:  # complete even if interrupted
        print("[]" if separator == "[\n" else "\n]")


@contextmanager
def as_csv(recorded: Callable[[Answer], dict[str, Any]] = record, columns: Sequence[str] = COLUMNS) -> Iterator[Writer]:
    """Print CSV with a header."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    yield lambda answer: writer.writerow(recorded(answer))
