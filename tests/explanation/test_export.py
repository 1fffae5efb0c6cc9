"""An exported network takes bytes, computes what torch computes, describes itself, and needs no torch."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import digits
from digits.data import sample
from digits.errors import RunError, UserError
from digits.explanation import export
from digits.prediction import predict as prediction
from digits.prediction.predict import DigitReader
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.runs.run import Run

from ..helpers import draw, run_cold

pytestmark = pytest.mark.slow  # half a minute, most of it torch's exporter

IMAGES, LABELS = sample.load()


@pytest.fixture(scope="module")
def exported(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The exported file, and the summary of the export."""
    path = tmp_path_factory.mktemp("export") / "mine.onnx"
    return path, export.export(find(sample_run), path)


def test_an_exported_network_computes_what_torch_computes(exported: tuple[Path, str], sample_run: Path) -> None:
    path, summary = exported
    assert "Agrees with torch on 1,000 digits" in summary
    assert str(path) in summary
    for number in (1, 3, 700):  # any batch size
        ours = digits.load(sample_run).probabilities(IMAGES[:number])
        np.testing.assert_allclose(digits.load(path).probabilities(IMAGES[:number]), ours, atol=1e-5)
    theirs, ours = digits.load(path), digits.load(sample_run)
    assert theirs.thresholds == ours.thresholds
    np.testing.assert_allclose(theirs.outputs(IMAGES[:700])[1], ours.outputs(IMAGES[:700])[1], rtol=1e-3, atol=1e-3)


def test_an_exported_network_takes_bytes_and_describes_itself(exported: tuple[Path, str], sample_run: Path) -> None:
    model = onnx.load(exported[0])
    onnx.checker.check_model(model, full_check=True)
    (graph_input,) = model.graph.input
    assert graph_input.name == "images"
    assert graph_input.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    batch, *size = graph_input.type.tensor_type.shape.dim
    assert (batch.dim_param, [dim.dim_value for dim in size]) == ("batch", [28, 28])
    about = {item.key: item.value for item in model.metadata_props}
    results = Run(sample_run).results
    assert results is not None
    assert json.loads(about["classes"]) == [str(digit) for digit in range(10)]
    assert json.loads(about["normalisation"])["mean"] == 0.1307
    assert json.loads(about["test_accuracy"]) == results.test_accuracy
    assert (about["run"], about["dataset"]) == (str(sample_run), "mnist-sample-5k")


def test_only_predict_accepts_an_exported_network(exported: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match="an exported network, which only predict takes"):
        find(exported[0])


def test_predict_with_an_exported_network_does_not_import_torch(exported: tuple[Path, str], tmp_path: Path) -> None:
    picture = draw(tmp_path / "seven.png", 40)
    program = (
        "import sys; from digits.cli.app import main\n"
        "try: main()\n"
        "finally: print('imported', [name for name in ('torch', 'lightning') if name in sys.modules])"
    )
    done = run_cold("-c", program, "predict", str(exported[0]), picture, "--csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "imported []"
    assert lines[1].startswith(f"{picture},")


@pytest.mark.parametrize("how", ["other digits", "other probabilities", "other familiarity", "no number"])
def test_an_export_that_computes_something_else_is_refused(
    how: str, sample_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = prediction.load

    def wrong(source: Path) -> DigitReader:
        reader = load(source)
        if source.suffix != ".onnx":
            return reader
        spoilt = {
            "other digits": lambda p, f: (p[:, ::-1], f),
            "other probabilities": lambda p, f: (p + 1e-3, f),
            "other familiarity": lambda p, f: (p, f + 0.1),
            "no number": lambda p, f: (p * np.nan, f),
        }
        return DigitReader(lambda images: spoilt[how](*reader.outputs(images)))

    monkeypatch.setattr(export, "load", wrong)
    with pytest.raises(RunError, match="not probabilities" if how == "no number" else "nothing was written"):
        export.export(find(sample_run), tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(sample_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a file whose name ends with \.onnx"):
        export.export(find(sample_run), tmp_path)
    with pytest.raises(UserError, match=r"the folder .*gone does not exist"):
        export.export(find(sample_run), tmp_path / "gone/model.onnx")


def test_an_8_bit_export_states_its_accuracy(sample_run: Path, exported: tuple[Path, str], tmp_path: Path) -> None:
    summary = export.export(find(sample_run), tmp_path / "small.onnx", int8=True)
    results = Run(sample_run).results
    assert results is not None
    assert f"Test accuracy {100 * results.test_accuracy:.2f} % with 32 bits" in summary
    small = onnx.load(tmp_path / "small.onnx")
    about = {item.key: item.value for item in small.metadata_props}
    assert f"{100 * json.loads(about['test_accuracy']):.2f} % with 8" in summary
    assert about["run"] == str(sample_run)
    arrays = [onnx.numpy_helper.to_array(initializer) for initializer in small.graph.initializer]
    largest = max(np.abs(array.astype(int)).max() for array in arrays if array.dtype == np.int8 and array.ndim)
    assert largest == 64  # weights have 7 bits, as 8 overflow without VNNI; scalars are zero points
    reader = digits.load(tmp_path / "small.onnx")
    statuses = [prediction.status for prediction in reader.predict_images(IMAGES[::7])]
    assert statuses.count("read") > 0.93 * len(statuses)  # the thresholds of the 32-bit network still fit
    answers = reader.probabilities(IMAGES[::7]).argmax(1)
    assert (answers == digits.load(exported[0]).probabilities(IMAGES[::7]).argmax(1)).mean() > 0.97


def test_an_onnx_file_from_elsewhere_is_refused(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="it was not written by digits export"):
        digits.load(tmp_path / "other.onnx")


def test_the_export_of_an_untested_checkpoint_states_no_accuracy(sample_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes((sample_run / "checkpoints/best.ckpt").read_bytes())
    assert Checkpoint(tmp_path / "mine.ckpt").layers()
    for source in (tmp_path / "mine.ckpt", sample_run / "checkpoints/last.ckpt"):
        export.export(find(source), tmp_path / "model.onnx")
        about = {item.key: item.value for item in onnx.load(tmp_path / "model.onnx").metadata_props}
        assert about["test_accuracy"] == "null"
