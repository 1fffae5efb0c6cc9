"""The text of an evaluation, as `digits evaluate` prints it."""

from collections.abc import Iterator, Sequence

from digits.evaluation.metrics import Evaluation, interval
from digits.model.spec import with_article

MAX_NAME_WIDTH = 24  # characters of a class name
MAX_MATRIX = 10  # classes of the largest confusion matrix that fits a terminal; number of errors listed instead


def evaluation_text(evaluation: Evaluation) -> str:
    """Format an evaluation: totals, metrics per class, confusion matrix, reliability, and the worst errors."""
    low, high = interval(evaluation.test_accuracy, evaluation.images)
    names = [name if len(name) <= MAX_NAME_WIDTH else f"{name[: MAX_NAME_WIDTH - 1]}…" for name in evaluation.classes]
    width = max(5, *map(len, names))
    such = "" if evaluation.noun == "digits" else "such "
    lines = [
        f"Test accuracy {100 * evaluation.test_accuracy:.2f} %: {evaluation.mistakes:,} of {evaluation.images:,} "
        f"{evaluation.noun} of {evaluation.dataset} wrong",
        f"95 % interval for {such}{evaluation.noun} in general: {100 * low:.2f} to {100 * high:.2f} %",
        f"Loss {evaluation.test_loss:.4f}, calibration error {100 * evaluation.calibration_error:.2f} %",
        *([f"Unsure or unfamiliar: {evaluation.untrusted}"] if evaluation.untrusted else []),
        "",
        f"{'class' if such else 'digit':>{width}}  images  precision    recall        F1",
    ]
    for digit in evaluation.digits:
        metrics = "".join(f"{100 * value:>8.2f} %" for value in (digit.precision, digit.recall, digit.f1))
        lines.append(f"{names[digit.digit]:>{width}}  {digit.images:>6} {metrics}")
    lines += ["", *_confusions(evaluation, names)]
    lines += ["", f"{'confidence':<12}  {'images':>6}  {'mean confidence':>16}  {'accuracy':>9}"]
    for part in evaluation.reliability:
        confidence, accuracy = 100 * part.confidence, 100 * part.accuracy
        lines.append(f"from {100 * part.above:>5.1f} %  {part.images:>6,}  {confidence:>14.2f} %  {accuracy:>7.2f} %")
    if evaluation.worst:
        lines += ["", f"The {len(evaluation.worst)} worst errors, the least likely {evaluation.noun} first"]
    for mistake in evaluation.worst:
        likely = f"{with_article(names[mistake.digit])} ({100 * mistake.probability:.2f} %)"
        read = f"{names[mistake.answer]} ({100 * mistake.confidence:.2f} %)"
        lines.append(f"  image {mistake.index:>5}: {likely}, read as {read}")
    return "\n".join(lines)


def _confusions(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    """The lines of the confusion matrix, or of the most frequent errors if it is too wide for a terminal."""
    matrix = evaluation.confusion_matrix
    if len(names) <= MAX_MATRIX:
        digits = evaluation.noun == "digits"
        labels = names if digits else [f"{name} {label}" for label, name in enumerate(names)]
        width = max(5, *map(len, labels)) if not digits else 5
        yield f"Images by {'digit' if digits else 'class'} (row) and prediction (column)"
        yield " " * width + "".join(f"{label:>5}" for label in range(len(names)))
        for name, row in zip(labels, matrix, strict=True):
            yield f"{name:>{width}}" + "".join(f"{count or '·':>5}" for count in row)
        return
    cells = [(row[answer], label, answer) for label, row in enumerate(matrix) for answer in range(len(row))]
    frequent = sorted((cell for cell in cells if cell[0] and cell[1] != cell[2]), reverse=True)[:MAX_MATRIX]
    yield "The most frequent errors"
    for count, label, answer in frequent:
        yield f"{count:>5} of {sum(matrix[label]):,}: {with_article(names[label])}, read as {names[answer]}"
