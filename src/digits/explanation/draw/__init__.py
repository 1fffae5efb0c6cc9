"""A page on which a network reads what its user draws, and shows every number that it computes."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from digits.evaluation.metrics import Evaluation, image_of, read
from digits.explanation.draw.steps import Step, describe, is_large, largest_difference, layout, pack
from digits.model.familiarity import RatedNetwork
from digits.model.network import Network
from digits.model.spec import with_article
from digits.prediction.exported import Images
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import save
from digits.runs.find import Trained

FOLDER = Path(__file__).parent
SCRIPTS = (
    "layers",
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

MAX_ERRORS = 20
MAX_EPOCH_BYTES = 20 * 2**20  # of the weights of all epochs in a page


def write(trained: Trained) -> Path:
    """Write ``draw/index.html`` beside a checkpoint, or into its run directory.

    Args:
        trained: The network.

    Returns:
        The file. It contains everything that it shows, and loads nothing.

    Raises:
        UserError: If the checkpoint cannot be read, or the page cannot be written.
    """
    return save(trained.home / "draw" / "index.html", _page(trained))


def _page(trained: Trained) -> str:
    checkpoint = Checkpoint(trained.checkpoint)
    network = checkpoint.rated()
    spec = network.data
    evaluation = read(trained.home)
    steps = describe(network.network)
    epochs, left_out = _epochs(trained)
    data = {
        "classes": spec.classes,
        "wholePicture": spec.prepare != "photo",
        "unsure": network.thresholds.probability,
        "usual": _usual(network, steps),
        "steps": layout(steps),
        "networks": [*epochs, {"name": "trained", "weights": _base64(pack(steps))}],
        "leftOut": left_out,
        "digits": list(_digits(evaluation)),
        "errors": list(_errors(evaluation)),
    }
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8")).render(
        name=trained.home.resolve().name,
        summary=_summary(trained, network.network, steps, evaluation),
        are_digits=spec.are_digits,
        style=style,
        style_hash=_sha256(style),
        script=script,
        script_hash=_sha256(script),
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )


def _summary(trained: Trained, network: Network, steps: list[Step], evaluation: Evaluation | None) -> str:
    parameters = sum(weight.numel() for weight in network.parameters())
    parts = [f"{parameters:,} parameters"]
    if evaluation:
        parts.append(f"{100 * evaluation.test_accuracy:.2f} % of {evaluation.images:,} test images read right")
    if is_large(steps):
        images = _images(evaluation)
        difference = f" by up to {largest_difference(network, images):.1g} for these images" if len(images) else ""
        parts.append(f"the weights are rounded to float16, which changes the logits{difference}")
    return "; ".join(parts) + ". Nothing leaves this page: your own computer computes everything."


def _usual(network: RatedNetwork, steps: list[Step]) -> dict[str, Any] | None:
    """What `RatedNetwork.familiarity` is computed from; None if the network has no statistics."""
    if not network.means.shape[1]:
        return None
    threshold = network.thresholds.familiarity
    blocks = [step.title.partition(":")[0] for step in steps]
    return {
        "ends": [
            number for number, name in enumerate(blocks) if name.startswith("Block") and name != blocks[number + 1]
        ],
        "means": _base64(network.means.numpy().astype("<f4").tobytes()),
        "whitening": _base64(network.whitening.numpy().astype("<f4").tobytes()),
        "weight": network.weight,
        "threshold": threshold if math.isfinite(threshold) else None,
    }


def _images(evaluation: Evaluation | None) -> Images:
    """The images in the page, (n, 28, 28) uint8."""
    pngs = [*evaluation.examples, *(error.png for error in evaluation.worst)] if evaluation else []
    return np.array([image_of(png) for png in pngs if png], dtype=np.uint8)


def _digits(evaluation: Evaluation | None) -> Iterator[dict[str, str]]:
    """The first test image of each class."""
    for name, png in zip(evaluation.classes, evaluation.examples, strict=True) if evaluation else ():
        if png:
            yield _example(png, name, f"{with_article(name)} of the test set")


def _errors(evaluation: Evaluation | None) -> Iterator[dict[str, str]]:
    if evaluation is None:
        return
    for error in evaluation.worst[:MAX_ERRORS]:
        label, answer = (evaluation.classes[index] for index in (error.digit, error.answer))
        yield _example(error.png, f"{label} → {answer}", f"{with_article(label)}, read as {answer}")


def _example(png: str, label: str, title: str) -> dict[str, str]:
    return {"pixels": _base64(image_of(png).tobytes()), "label": label, "title": title}


def _epochs(trained: Trained) -> tuple[list[dict[str, str]], str]:
    """The weights after each epoch, and which the page leaves out because they are too large together."""
    run = trained.run if trained.run and trained.home == trained.run.path else None
    files = run.epoch_files() if run else []
    found: list[dict[str, str]] = []
    packed = [pack(describe(Checkpoint(file).network())) for file in files[:1]]
    most = max(2, MAX_EPOCH_BYTES // len(packed[0])) if packed else 0
    kept = _spread(files, most)
    for file in kept:
        weights = pack(describe(Checkpoint(file).network()))
        epoch = int(file.stem)
        found.append({"name": "before training" if epoch == 0 else f"epoch {epoch}", "weights": _base64(weights)})
    missing = [int(file.stem) for file in files if file not in kept]
    left_out = f"Left out, to keep the page small: epochs {', '.join(map(str, missing))}." if missing else ""
    return found, left_out


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many files, evenly spread from the first to the last."""
    if len(files) <= most:
        return list(files)
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, most)]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _sha256(text: str) -> str:
    return _base64(hashlib.sha256(text.encode("utf-8")).digest())
