"""ONNX files: thresholds are read, and unusable files are refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import digits
from digits.errors import UserError
from digits.model.spec import DIGITS, Thresholds

IMAGES = np.zeros((3, 28, 28), np.uint8)
ABOUT = {"classes": json.dumps(DIGITS), "prepare": "photo", "thresholds": "{}"}


def network(path: Path, familiarity: str = "unfamiliar", **about: str) -> Path:
    """Write a network to which all classes are equally likely; `familiarity` names the value of its second output."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceSum", ["logits", "axis"], ["unfamiliar"], keepdims=0),
        helper.make_node("Identity", [familiarity], ["familiarity"]),
    ]
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(
        nodes,
        "even",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28])],
        outputs,
        [
            numpy_helper.from_array(np.zeros((784, 10), np.float32), "weights"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {**ABOUT, **about})
    onnx.save(model, path)
    return path


def test_thresholds_are_read_from_the_file(tmp_path: Path) -> None:
    about = {"thresholds": json.dumps({"probability": 0.05, "familiarity": 3.5})}
    reader = digits.load(network(tmp_path / "new.onnx", **about))
    assert [each.status for each in reader.predict_images(IMAGES)] == ["unfamiliar"] * 3
    assert reader.thresholds == Thresholds(0.05, 3.5)


@pytest.mark.parametrize(
    "thresholds", ["[]", "7", '{"probability": 7}', '{"temperature": 0.5}', '{"other": 1}', '{"familiarity": NaN}', "{"]
)
def test_invalid_thresholds_are_refused(thresholds: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has impossible classes or thresholds"):
        digits.load(network(tmp_path / "wrong.onnx", thresholds=thresholds))


def test_a_familiarity_of_another_shape_is_refused(tmp_path: Path) -> None:
    reader = digits.load(network(tmp_path / "wrong.onnx", "logits"))
    with pytest.raises(
        UserError, match=r"shapes \[\(3, 10\), \(3, 10\)\], not float32 of \[\(3, 10\), \(3,\)\]: it was not"
    ):
        reader.predict_images(IMAGES)


@pytest.mark.parametrize("name", list(ABOUT))
def test_a_file_without_one_of_the_properties_is_refused(name: str, tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {key: text for key, text in ABOUT.items() if key != name})
    onnx.save(model, path)
    with pytest.raises(
        UserError, match=f"other.onnx has no {name} in its metadata: it was not written by digits export"
    ):
        digits.load(path)
