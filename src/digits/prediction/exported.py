"""Loads a network from an ONNX file, without torch."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digits.errors import UserError, first_line
from digits.model.geometry import IMAGE_SIZE
from digits.model.spec import DIGITS, DataSpec, Thresholds, parse_spec

SILENT = 4  # onnxruntime's log level
FAMILIARITY = "familiarity"  # the second output; older files have none

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Outputs = tuple[Floats, Floats]
"""Probabilities, (batch, classes), each row of which sums to 1; familiarity, (batch,), larger for a familiar image."""

Loaded = tuple[Callable[[Images], Outputs], DataSpec, Thresholds]
"""What computes the outputs of a network, what it knows of its data, and below which values it is not trusted."""


def read_onnx(path: Path) -> Loaded:
    """Load a file that `digits export` wrote.

    Raises:
        UserError: If it does not exist, or was not written by it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from Python too, no device ID is written and nothing sent
    import onnxruntime

    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT  # errors are raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise UserError(f"{path} cannot be read as ONNX: {first_line(error)}.") from error
    (taken, *_), given = session.get_inputs(), [output.name for output in session.get_outputs()]
    if taken.type != "tensor(uint8)" or taken.shape[1:] != [IMAGE_SIZE, IMAGE_SIZE]:
        raise UserError(
            f"{path} takes {taken.type} of shape {taken.shape}, not uint8 (batch, 28, 28): "
            "it was not written by digits export."
        )

    data, thresholds = _described(path, session.get_modelmeta().custom_metadata_map)

    wanted = [given[0], *(name for name in given[1:] if name == FAMILIARITY)]

    def compute(images: Images) -> Outputs:
        try:
            probabilities, *others = map(np.asarray, session.run(wanted, {taken.name: images}))
        except Exception as error:  # as above
            raise UserError(f"{path} cannot be computed: {first_line(error)}.") from error
        if probabilities.shape != (len(images), len(data.classes)) or probabilities.dtype != np.float32:
            raise UserError(
                f"{path} gives {probabilities.dtype} of shape {probabilities.shape}, not float32 "
                f"({len(images)}, {len(data.classes)}): it was not written by digits export."
            )
        familiarity = others[0] if others else np.zeros(len(images), dtype=np.float32)
        if familiarity.shape != (len(images),):
            raise UserError(f"{path} gives a familiarity of shape {familiarity.shape}, not ({len(images)},).")
        return probabilities, familiarity

    return compute, data, thresholds


def _described(path: Path, about: dict[str, str]) -> tuple[DataSpec, Thresholds]:
    """The classes and the thresholds that the metadata of an ONNX file name; digits without them."""
    try:
        classes = json.loads(about["classes"]) if "classes" in about else DIGITS
        thresholds = Thresholds(
            **{name: float(value) for name, value in json.loads(about.get("thresholds", "{}")).items()}
        )
        return parse_spec({"classes": classes, "prepare": about.get("prepare", "photo")}), thresholds
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} names classes or thresholds that are not possible: {first_line(error)}.") from error
