"""The file ``predictions.csv``: the label and the prediction of every test image, for comparisons of runs."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from digits.errors import UserError
from digits.runs.files import save

FILE = "predictions.csv"


class Predictions(NamedTuple):
    """The labels and predictions of all test images, as names of classes, in the order of the test set."""

    labels: Sequence[str]
    predictions: Sequence[str]

    def write(self, folder: Path) -> Path:
        """Write ``predictions.csv``: a row per image, the first one for image 0.

        Raises:
            UserError: If it cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["label", "prediction"])
        writer.writerows(zip(self.labels, self.predictions, strict=True))
        return save(folder / FILE, text.getvalue())


def read_predictions(folder: Path) -> Predictions | None:
    """Read ``predictions.csv`` in a run directory; None without the file.

    Raises:
        UserError: If it is not a file that a test writes.
    """
    path = folder / FILE
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        if header != ["label", "prediction"] or any(len(row) != 2 for row in rows):
            raise ValueError("it is not a table of labels and predictions")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); digits evaluate writes it again.") from error
    return Predictions([label for label, _ in rows], [prediction for _, prediction in rows])
