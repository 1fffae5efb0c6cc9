"""A page on which a network reads what its user draws, and shows every number that it computes."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from digits.data import sample
from digits.errors import UserError
from digits.evaluation.metrics import Evaluation, image_of, read
from digits.explanation.draw.steps import Step, describe, is_large, largest_difference, layout, pack
from digits.model.familiarity import RatedNetwork
from digits.model.network import Network
from digits.model.spec import DataSpec, with_article
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import save
from digits.runs.find import Trained

FOLDER = Path(__file__).parent
SCRIPTS = (
    "layers",
    "weights",
    "planes",
    "prepare",
    "strokes",
    "arithmetic",
    "maps",
    "panel",
    "why",
    "familiar",
    "state",
    "view",
    "page",
)
"""In the order in which the page runs them; together they are one script."""

MAX_ERRORS = 10
MAX_BYTES = 100 * 2**20  # of the weights of a network; browsers limit the length of a text
MAX_EPOCH_BYTES = 20 * 2**20  # of the weights of all epochs in a page


def write(trained: Trained) -> Path:
    """Write ``draw/index.html`` beside a checkpoint, or into its run directory.

    Args:
        trained: The network.

    Returns:
        The file. It contains everything that it shows, and loads nothing.

    Raises:
        UserError: If the checkpoint cannot be read, its network is too large, or the page cannot be written.
    """
    return save(trained.home / "draw" / "index.html", _page(trained))


def _page(trained: Trained) -> str:
    checkpoint = Checkpoint(trained.checkpoint)
    rated = checkpoint.rated()
    spec, steps = rated.data, describe(rated.network)
    weights = pack(steps)
    if len(weights) > MAX_BYTES:
        raise UserError(f"{trained.checkpoint}: its weights take {len(weights) >> 20:,} MiB, too much for a page.")
    evaluation = _evaluation(trained)
    digits, errors = list(_digits(spec, evaluation)), list(_errors(evaluation))
    epochs, left_out = _epochs(trained, len(weights))
    data = {
        "classes": spec.classes,
        "wholePicture": spec.prepare != "photo",
        "unsure": rated.thresholds.probability,
        "usual": _usual(rated, steps),
        "steps": layout(steps),
        "networks": [*epochs, {"name": f"the best, epoch {_epoch(checkpoint)}", "weights": _base64(weights)}],
        "leftOut": left_out,
        "digits": [example.plain() for example in digits],
        "errors": [example.plain() for example in errors],
    }
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8")).render(
        name=trained.home.resolve().name,
        summary=_summary(rated.network, evaluation),
        rounding=_rounding(rated.network, steps, [*digits, *errors]),
        are_digits=spec.are_digits,
        digits_title="Test images" if evaluation else "Digits of MNIST",
        style=style,
        style_hash=_sha256(style),
        script=script,
        script_hash=_sha256(script),
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )


@dataclass(frozen=True)
class _Example:
    """An image to choose instead of drawing one: its pixels, (28, 28) uint8, a short label and a longer title."""

    image: npt.NDArray[np.uint8]
    label: str
    title: str

    def plain(self) -> dict[str, str]:
        return {"pixels": _base64(self.image.tobytes()), "label": self.label, "title": self.title}


def _evaluation(trained: Trained) -> Evaluation | None:
    """The evaluation, if it is of this checkpoint; None otherwise."""
    results, evaluation = trained.results, read(trained.home)
    return evaluation if results and evaluation and evaluation.test_accuracy == results.test_accuracy else None


def _epoch(checkpoint: Checkpoint) -> int | str:
    epoch = checkpoint.content.get("epoch")
    return epoch + 1 if isinstance(epoch, int) else "unknown"


def _summary(network: Network, evaluation: Evaluation | None) -> str:
    parameters = f"{sum(weight.numel() for weight in network.parameters()):,} parameters"
    if evaluation is None:
        return f"{parameters}."
    return f"{parameters}; {100 * evaluation.test_accuracy:.2f} % of {evaluation.images:,} test images read right."


def _rounding(network: Network, steps: list[Step], examples: Sequence[_Example]) -> str:
    """What rounding the weights of a large network changes; empty for others."""
    if not is_large(steps):
        return ""
    images = [example.image for example in examples]
    difference = f" by up to {largest_difference(network, np.stack(images)):.1g}" if images else ""
    return f"The page rounds the weights to float16, which changes the logits of its images{difference}."


def _usual(network: RatedNetwork, steps: list[Step]) -> dict[str, Any] | None:
    """What `RatedNetwork.familiarity` is computed from; None if the network has no threshold."""
    if not math.isfinite(network.thresholds.familiarity):
        return None
    blocks = [step.block for step in steps]
    return {
        "ends": [number for number, block in enumerate(blocks) if block and block != blocks[number + 1]],
        "means": _base64(network.means.numpy().astype("<f4").tobytes()),
        "whitening": _base64(network.whitening.numpy().astype("<f4").tobytes()),
        "weight": network.weight,
        "threshold": network.thresholds.familiarity,
    }


def _digits(spec: DataSpec, evaluation: Evaluation | None) -> Iterator[_Example]:
    """The first test image of each class; without a test, a digit of MNIST's sample."""
    if evaluation:
        for name, png in zip(evaluation.classes, evaluation.examples, strict=True):
            if png:
                yield _Example(image_of(png), name, f"{with_article(name)} of the test set")
    elif spec.are_digits:
        images, labels = sample.load()
        for digit, name in enumerate(spec.classes):
            yield _Example(images[np.flatnonzero(labels == digit)[0]], name, f"{with_article(name)} of MNIST")


def _errors(evaluation: Evaluation | None) -> Iterator[_Example]:
    if evaluation is None:
        return
    for error in evaluation.worst[:MAX_ERRORS]:
        label, answer = (evaluation.classes[index] for index in (error.digit, error.answer))
        yield _Example(image_of(error.png), f"{label}, read as {answer}", f"{with_article(label)}, read as {answer}")


def _epochs(trained: Trained, size: int) -> tuple[list[dict[str, str]], str]:
    """The weights after each epoch, ``size`` bytes each, and a sentence on those left out to keep the page small."""
    files = trained.run.epoch_files() if trained.run and trained.home == trained.run.path else []
    kept = _spread(files, max(2, MAX_EPOCH_BYTES // size))
    epochs = []
    for file in kept:
        name = "before training" if file.stem == "0" else f"epoch {file.stem}"
        epochs.append({"name": name, "weights": _base64(pack(describe(Checkpoint(file).network())))})
    missing = [file.stem for file in files if file not in kept]
    return epochs, f"Left out, to keep the page small: epochs {', '.join(missing)}." if missing else ""


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most ``most`` files, evenly spread from the first to the last."""
    if len(files) <= most:
        return list(files)
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, most)]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _sha256(text: str) -> str:
    return _base64(hashlib.sha256(text.encode("utf-8")).digest())
