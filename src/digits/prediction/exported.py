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
"""Probabilities, (batch, classes), where each row sums to 1; familiarity, (batch,), larger for a familiar image."""

Loaded = tuple[Callable[[Images], Outputs], DataSpec, Thresholds]
"""The function that computes a network's outputs, its `DataSpec`, and the thresholds below which it is not trusted."""


def read_onnx(path: Path) -> Loaded:
    """Load a file that `digits export` wrote.

    Raises:
        UserError: If it does not exist, or `digits export` did not write it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # no device ID is written and nothing is sent, from Python too
    import onnxruntime

    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT  # errors are raised as exceptions
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise UserError(f"{path} cannot be read as ONNX: {first_line(error)}.") from error
    (model_input, *_), output_names = session.get_inputs(), [output.name for output in session.get_outputs()]
    if model_input.type != "tensor(uint8)" or model_input.shape[1:] != [IMAGE_SIZE, IMAGE_SIZE]:
        raise UserError(
            f"{path} takes {model_input.type} of shape {model_input.shape}, not uint8 (batch, 28, 28): "
            "it was not written by digits export."
        )

    data, thresholds = _read_metadata(path, session.get_modelmeta().custom_metadata_map)

    requested = [output_names[0], *(name for name in output_names[1:] if name == FAMILIARITY)]

    def compute(images: Images) -> Outputs:
        try:
            probabilities, *others = map(np.asarray, session.run(requested, {model_input.name: images}))
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


def _read_metadata(path: Path, properties: dict[str, str]) -> tuple[DataSpec, Thresholds]:
    """Read the classes, the preparation and the thresholds from an ONNX file's metadata; the default is digits."""
    try:
        classes = json.loads(properties["classes"]) if "classes" in properties else DIGITS
        thresholds = Thresholds(
            **{name: float(value) for name, value in json.loads(properties.get("thresholds", "{}")).items()}
        )
        return parse_spec({"classes": classes, "prepare": properties.get("prepare", "photo")}), thresholds
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} has impossible classes or thresholds: {first_line(error)}.") from error
