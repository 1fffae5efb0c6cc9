"""``digits predict``: prepares, reads, prints and draws pictures one after the other."""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from digits.console import tracked
from digits.errors import EXIT_DONE, EXIT_FAILED, UserError, printable
from digits.prediction import formats, pictures, showing
from digits.prediction.formats import Writer
from digits.prediction.predict import DigitReader, load, preparation_of
from digits.preparation import parallel
from digits.signals import importing


def predict(run: str, images: Sequence[str], form: str, show: bool, are_rows: bool) -> int:
    """Read the digit, or the row of digits, in each picture.

    Args:
        run: A run directory, ``latest``, a checkpoint, or an ONNX file.
        images: Files, folders and patterns.
        form: ``table``, ``json`` or ``csv``.
        show: Whether to draw what the network reads beside each picture.
        are_rows: Whether the pictures show rows of digits.

    Returns:
        The exit code: a failure if a picture could not be read.
    """
    # The network computes in short bursts: between them, its threads must not spin on the cores that decode pictures.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    found = pictures.find(images)
    failed = 0
    known_preparation = preparation_of(run)
    reader = None if known_preparation else _load(run)
    with pictures.prepare(found, reader.data.prepare if reader else str(known_preparation), are_rows) as prepared:
        reader = reader or _load(run)
        answers = (pictures.read_rows if are_rows else pictures.read)(reader, prepared)
        with _output(form, reader.data.classes, are_rows) as write:
            # A progress bar, if the answers go into a file while the user looks at a terminal.
            show_bar = len(found) > parallel.BATCH_SIZE and sys.stderr.isatty() and not sys.stdout.isatty()
            for answer in tracked(answers, "Reading pictures", len(found), show_bar):
                write(answer)
                problem = answer.note if answer.status == pictures.FAILED else ""
                if show and not problem:
                    try:
                        showing.show(answer, reader.data.prepare)
                    except UserError as error:
                        problem = str(error)
                if problem:
                    failed += 1
                    print(f"Failed: {printable(answer.picture)}: {problem}", file=sys.stderr)
    return EXIT_FAILED if failed else EXIT_DONE


def _load(run: str) -> DigitReader:
    with importing():
        return load(run)


def _output(form: str, classes: Sequence[str], are_rows: bool) -> AbstractContextManager[Writer]:
    if form == "json":
        return formats.as_json(formats.full_row_record if are_rows else formats.record)
    if form == "csv":
        return formats.as_csv(formats.row_record, formats.ROW_COLUMNS) if are_rows else formats.as_csv()
    return formats.as_row_table() if are_rows else formats.as_table(classes)
