"""A loaded network reads arrays, files and PIL images, one or many; with torch, and with ONNX alone."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

import digits
from digits.data import sample
from digits.errors import RunError, UserError
from digits.model.spec import DIGITS
from digits.prediction import predict as prediction
from digits.prediction.predict import DigitReader, Prediction
from digits.preparation.opening import PictureError
from digits.runs.checkpoint import Checkpoint

from ..helpers import draw

IMAGES, LABELS = sample.load()


def test_most_digits_are_read_correctly(reader: DigitReader) -> None:
    answers = reader.probabilities(IMAGES[::5]).argmax(1)
    assert (answers == LABELS[::5]).mean() > 0.9


def test_probabilities_equal_those_of_the_network(reader: DigitReader, sample_run: Path) -> None:
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    with torch.no_grad():
        expected = network(torch.from_numpy(IMAGES[:1200].copy())).softmax(1)
    probabilities = reader.probabilities(IMAGES[:1200])  # in three batches
    assert probabilities.shape == (1200, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert reader.probabilities(IMAGES[:0]).shape == (0, 10)


def test_the_digit_and_the_ranking_of_a_prediction() -> None:
    prediction = Prediction((0.0, 0.1, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0))
    assert prediction.digit == 3
    assert prediction.probability == 0.6
    assert prediction.ranking[:3] == [(3, 0.6), (8, 0.3), (1, 0.1)]


def test_every_form_of_a_picture(reader: DigitReader, tmp_path: Path) -> None:
    digit = IMAGES[int(np.flatnonzero(LABELS == 3)[2])]
    picture = Image.fromarray(255 - digit).resize((112, 112))
    path = tmp_path / "three.png"
    picture.save(path)
    as_it_is = reader.predict(digit)
    assert sum(as_it_is.probabilities) == pytest.approx(1, abs=1e-5)
    forms = [path, str(path), picture, np.asarray(picture), np.asarray(picture.convert("RGB"))]
    found = [reader.predict(form) for form in forms]
    assert found[0] == found[1] == found[2] == found[3]
    assert {prediction.digit for prediction in [as_it_is, *found]} == {as_it_is.digit}
    together = reader.predict([digit, *forms])
    for one, other in zip(together, [as_it_is, *found], strict=True):  # in a batch, sums are computed in another order
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    assert [prediction.digit for prediction in reader.predict(np.stack([digit, digit]))] == [as_it_is.digit] * 2
    assert reader.predict([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((28, 28)),
        np.zeros(784, np.uint8),
        np.zeros((2, 30, 30), np.uint8),
        np.zeros((0, 28), np.uint8),
        7,
    ],
)
def test_arguments_that_are_not_pictures_are_refused(reader: DigitReader, wrong: object) -> None:
    with pytest.raises(UserError, match=r"is not a picture|an array, a path or a PIL image"):
        reader.predict(wrong)  # type: ignore[call-overload]


def test_read_only_and_reversed_arrays_are_read(reader: DigitReader) -> None:
    read_only = IMAGES[:4].copy()
    read_only.flags.writeable = False
    expected = reader.predict(IMAGES[:4])
    assert reader.predict(read_only) == expected
    assert reader.predict(read_only[::-1]) == expected[::-1]
    assert reader.predict(read_only[0]).digit == expected[0].digit
    assert reader.predict(tuple(read_only)) == expected


def test_an_error_names_the_picture_among_several(reader: DigitReader, tmp_path: Path) -> None:
    good = draw(tmp_path / "good.png", 3600)
    with pytest.raises(PictureError, match=r"gone\.png: no such file"):
        reader.predict([good, str(tmp_path / "gone.png")])


def test_a_pil_image_of_a_damaged_file_is_refused(reader: DigitReader, tmp_path: Path) -> None:
    path = Path(draw(tmp_path / "seven.png", 3600))
    path.write_bytes(path.read_bytes()[:-300])
    with Image.open(path) as picture, pytest.raises(PictureError, match="cannot be read"):
        reader.predict(picture)


def test_images_of_another_shape_are_refused(reader: DigitReader) -> None:
    with pytest.raises(UserError, match=r"\(batch, 28, 28\) uint8"):
        reader.predict_images(np.zeros((2, 1, 28, 28), np.uint8))


def test_missing_runs_and_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run directory"):
        digits.load(tmp_path / "none")
    with pytest.raises(UserError, match="there is no file"):
        digits.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        digits.load(tmp_path / "text.onnx")


def test_the_package_refuses_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="laod"):
        digits.laod  # noqa: B018


def write_constant_onnx(path: Path, dtype: int, shape: list[Any], value: float = 0.1) -> Path:
    """Write an ONNX file as another program might: it gives the same output for every image."""
    node = helper.make_node(
        "Constant", [], ["probabilities"], value=helper.make_tensor("v", dtype, [1, *shape], [value] * math.prod(shape))
    )
    taken = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    rating = helper.make_node("Constant", [], ["familiarity"], value=zero)
    outputs = [
        helper.make_tensor_value_info("probabilities", dtype, None),
        helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph([node, rating], "g", [taken], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"classes": json.dumps(DIGITS), "prepare": "photo", "thresholds": "{}"})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("dtype", "shape"), [(TensorProto.FLOAT, [3]), (TensorProto.FLOAT, [10]), (TensorProto.DOUBLE, [10])]
)
def test_onnx_outputs_of_another_shape_or_type_are_refused(dtype: int, shape: list[int], tmp_path: Path) -> None:
    images = np.zeros((2 if dtype == TensorProto.FLOAT else 1, 28, 28), np.uint8)
    with pytest.raises(UserError, match=r"x\.onnx gives float.* it was not written by digits export"):
        prediction.load(write_constant_onnx(tmp_path / "x.onnx", dtype, shape)).predict_images(images)


@pytest.mark.parametrize("value", [-1.0, 53.0, float("nan")])
def test_outputs_that_are_not_probabilities_are_refused(value: float, tmp_path: Path) -> None:
    reader = prediction.load(write_constant_onnx(tmp_path / "x.onnx", TensorProto.FLOAT, [10], value))
    with pytest.raises(RunError, match="are not probabilities"):
        reader.predict_images(np.zeros((1, 28, 28), np.uint8))


def test_a_reader_can_be_pickled(reader: DigitReader, sample_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle contains the absolute name of its file."""
    monkeypatch.chdir(sample_run.parent)
    copied = pickle.loads(pickle.dumps(digits.load(sample_run.name)))
    monkeypatch.chdir("/")
    unpickled = pickle.loads(pickle.dumps(copied))
    assert unpickled.predict_images(IMAGES[:20]) == reader.predict_images(IMAGES[:20])
    with pytest.raises(TypeError, match=r"only a DigitReader from digits\.load"):
        pickle.dumps(DigitReader(lambda images: (np.zeros((len(images), 10), np.float32), np.zeros(len(images)))))
