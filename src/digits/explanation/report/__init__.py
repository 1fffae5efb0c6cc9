"""One page about a run, in a file that opens without a server."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl

from digits.console import duration
from digits.errors import shown
from digits.evaluation.metrics import Evaluation, image_of, read
from digits.explanation import drawing, plots
from digits.explanation.explain import figures
from digits.model.network import Network
from digits.model.spec import with_article
from digits.runs.checkpoint import Checkpoint
from digits.runs.differences import flat
from digits.runs.files import save
from digits.runs.find import find
from digits.runs.results import Results
from digits.runs.run import Run

TEMPLATE = Path(__file__).with_name("template.html")
DRAWN_DIGIT = 7  # its feature maps are shown; for classes that are not digits, those of the first class


def write(run: Run, results: Results) -> Path:
    """Write ``report/index.html`` into a run directory.

    Args:
        run: A finished run.
        results: Its results.

    Returns:
        The file. It contains everything that it shows, and loads nothing.

    Raises:
        UserError: If a file of the run is damaged or missing, or the page cannot be written.
    """
    evaluation = read(run.path)
    if evaluation is None or evaluation.test_accuracy != results.test_accuracy:  # missing, or of another checkpoint
        from digits.evaluation.evaluate import evaluate  # imports Lightning, which is rarely needed

        evaluation = evaluate(find(run.path))
        evaluation.write(run.path)
    return save(run.report_file, _page(run, results, evaluation))


def _page(run: Run, results: Results, evaluation: Evaluation) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    best = Checkpoint(run.best)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "digits"}):
        return template.render(
            name=run.path.resolve().name,
            results=results,
            evaluation=evaluation,
            with_article=with_article,
            kind="digit" if evaluation.noun == "digits" else "class",
            most_confused=_largest_off_diagonal(evaluation.confusion_matrix),
            facts=_facts(results, evaluation),
            curves=[drawing.svg(figure) for figure in _curves(run.read_metrics())],
            reliability=drawing.svg(
                plots.reliability([(part.confidence, part.accuracy, part.images) for part in evaluation.reliability])
            ),
            drawings=[drawing.svg(figure) for figure in _drawings(best.network(), evaluation)],
            drawn=with_article(evaluation.classes[_drawn_class(evaluation)]),
            layers=best.layers(),
            configuration=[(key, shown(value)) for key, value in flat(run.read_config() or {})],
            versions={**results.versions, **(results.git or {})},
            hardware=results.hardware,
        )


def _drawn_class(evaluation: Evaluation) -> int:
    """The class whose example is drawn."""
    wanted = DRAWN_DIGIT if evaluation.noun == "digits" else 0
    return wanted if evaluation.examples[wanted] else next(n for n, png in enumerate(evaluation.examples) if png)


def _largest_off_diagonal(matrix: Sequence[Sequence[int]]) -> int:
    return max((count for digit, row in enumerate(matrix) for answer, count in enumerate(row) if answer != digit))


def _facts(results: Results, evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    yield "test accuracy", f"{100 * results.test_accuracy:.2f} % of {results.dataset['test']:,} images, used once"
    if results.val_accuracy is not None:
        yield "validation accuracy", f"{100 * results.val_accuracy:.2f} % of {results.dataset['val']:,} images"
    yield "test loss", f"{results.test_loss:.4f} nats"
    yield "calibration error", f"{100 * results.calibration_error:.2f} %"
    if evaluation.untrusted:
        yield "unsure or unfamiliar", evaluation.untrusted
    yield "data set", f"{results.dataset['name']}, {results.dataset['train']:,} images to train"
    yield "parameters", f"{results.parameters:,}"
    yield "trained", f"{results.epochs} epochs, {results.steps:,} steps; epoch {results.best_epoch + 1} was tested"
    yield "time", f"{duration(results.train_seconds)} training, {duration(results.wall_seconds)} in all"
    if results.start_from:
        yield "started from", str(results.start_from["checkpoint"])
    yield "on", f"{results.accelerator}, {results.precision}, seed {results.seed}"


def _curves(rows: Sequence[dict[str, float]]) -> Iterator[Any]:
    def line(column: str, factor: float = 1) -> list[tuple[float, float]]:
        return [(row["epoch"] + 1, factor * row[column]) for row in rows if column in row]

    def lines(kind: str, factor: float = 1) -> dict[str, list[tuple[float, float]]]:
        named = {"training": line(f"train/{kind}", factor), "validation": line(f"val/{kind}", factor)}
        return {name: points for name, points in named.items() if points}

    if rows:
        losses = lines("loss")
        positive = all(loss > 0 for points in losses.values() for _, loss in points)
        yield plots.curves("Loss", "nats, logarithmic" if positive else "nats", losses, log=positive)
        yield plots.curves("Accuracy", "%", lines("accuracy", 100))
        yield plots.curves("Learning rate", "at the beginning of the epoch", {"lr": line("lr")})


def _drawings(network: Network, evaluation: Evaluation) -> Iterator[Any]:
    for name, figure in figures(network, image_of(evaluation.examples[_drawn_class(evaluation)])):
        if name != "input":
            yield figure
