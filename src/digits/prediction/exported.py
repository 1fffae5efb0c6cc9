"""Loads a network from an ONNX file, without torch."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digits.errors import UserError, first_line
from digits.model.geometry import IMAGE_SIZE
from digits.model.spec import DataSpec, Thresholds, parse_spec

SILENT = 4  # onnxruntime's log level
OUTPUTS = ("probabilities", "familiarity")
PROPERTIES = ("classes", "prepare", "thresholds")  # in the metadata of a file

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
    model_input = session.get_inputs()[0]
    if model_input.type != "tensor(uint8)" or model_input.shape[1:] != [IMAGE_SIZE, IMAGE_SIZE]:
        raise UserError(
            f"{path} takes {model_input.type} of shape {model_input.shape}, not uint8 (batch, 28, 28): "
            "it was not written by digits export."
        )

    properties = session.get_modelmeta().custom_metadata_map
    if missing := [name for name in PROPERTIES if name not in properties]:
        raise UserError(f"{path} has no {missing[0]} in its metadata: it was not written by digits export.")
    try:
        data = parse_spec({"classes": json.loads(properties["classes"]), "prepare": properties["prepare"]})
        thresholds = Thresholds(**json.loads(properties["thresholds"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} has impossible classes or thresholds: {first_line(error)}.") from error

    def compute(images: Images) -> Outputs:
        try:
            probabilities, familiarity = map(np.asarray, session.run(OUTPUTS, {model_input.name: images}))
        except Exception as error:  # as above
            raise UserError(f"{path} cannot be computed: {first_line(error)}.") from error
        shapes, expected = [probabilities.shape, familiarity.shape], [(len(images), len(data.classes)), (len(images),)]
        if shapes != expected or probabilities.dtype != np.float32:
            raise UserError(
                f"{path} gives {probabilities.dtype} of shapes {shapes}, not float32 of {expected}: "
                "it was not written by digits export."
            )
        return probabilities, familiarity

    return compute, data, thresholds
