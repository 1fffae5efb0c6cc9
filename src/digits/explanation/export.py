"""Exports a trained network to an ONNX file, and compares it with torch before the file is kept."""

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from digits.data import sample
from digits.errors import RunError, UserError
from digits.evaluation.evaluate import data_of
from digits.model.familiarity import RatedNetwork
from digits.prediction.exported import OUTPUTS, Images
from digits.prediction.predict import load
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import save
from digits.runs.find import Trained

CHECKED_DIGITS = 1_000  # of the sample, on which torch and onnxruntime must agree
MAX_DIFFERENCE = 1e-4  # of a probability; float32 sums in another order differ by 1e-6
MAX_RELATIVE_DIFFERENCE = 1e-3  # of a familiarity, which is a difference of larger numbers
CALIBRATION_IMAGES = 500  # for the ranges of the 8-bit values


class Exported(nn.Module):
    """A network that outputs probabilities, and how familiar each image is."""

    def __init__(self, network: RatedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From (batch, 28, 28) uint8 to probabilities, (batch, classes), and familiarity, (batch,), both float32."""
        logits, familiarity = self.network.rate(images)
        return logits.softmax(1), familiarity


def export(trained: Trained, output: Path | None = None, int8: bool = False) -> str:
    """Write a network as ONNX.

    Args:
        trained: The network.
        output: The file; None for ``model.onnx``, or ``model-int8.onnx``, in the run directory.
        int8: Whether to quantise weights and feature maps to one byte each, and measure the loss of accuracy.

    Returns:
        A summary for the user.

    Raises:
        UserError: If the checkpoint cannot be read, or the file cannot be written.
        RunError: If the exported network computes different outputs; nothing is written.
    """
    path = output or trained.home / ("model-int8.onnx" if int8 else "model.onnx")
    if path.is_dir() or path.suffix != ".onnx":
        raise UserError(f"--output {path} has to be a file whose name ends with .onnx.")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: the folder {path.parent} does not exist.")
    images, _ = sample.load()
    chosen = images[np.random.default_rng(0).permutation(len(images))]
    summary = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        _write_onnx(trained, file)
        difference = _check(trained.checkpoint, file, chosen[:CHECKED_DIGITS])
        summary.append(
            f"Agrees with torch on {CHECKED_DIGITS:,} digits: largest difference of a probability {difference:.1e}"
        )
        if int8:
            file = _quantised(file, _calibration(trained, chosen))
            summary.append(_measure_int8(trained, file))
        save(path, file.read_bytes())
    summary.append(f"Written to {path}, {path.stat().st_size / 1000:,.0f} kB: uint8 (batch, 28, 28) to probabilities")
    return "\n".join(summary)


def _write_onnx(trained: Trained, file: Path) -> None:
    rated = Checkpoint(trained.checkpoint).rated()
    data = rated.data
    network = Exported(rated.to(memory_format=torch.contiguous_format)).eval()
    example = torch.zeros(2, 28, 28, dtype=torch.uint8)
    with _silent():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=[*OUTPUTS],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    program.save(file)
    results, thresholds = trained.results, asdict(rated.thresholds)
    _describe(
        file,
        classes=json.dumps(data.classes),
        prepare=data.prepare,
        thresholds=json.dumps({name: value for name, value in thresholds.items() if math.isfinite(value)}),
        normalisation=json.dumps({"mean": data.mean, "std": data.std, "of": "pixels / 255; inside the file"}),
        run=str(trained.home),
        test_accuracy=json.dumps(results.test_accuracy if results else None),
        dataset=str(results.dataset["name"]) if results else "",
    )


def _check(checkpoint: Path, file: Path, images: Images) -> float:
    """The largest difference of a probability between torch and onnxruntime; compares the familiarity too.

    Raises:
        RunError: If it is too large, or a prediction differs.
    """
    (ours, familiarity), (exported, exported_familiarity) = (load(name).outputs(images) for name in (checkpoint, file))
    difference = float(np.abs(ours - exported).max())
    changed = int((ours.argmax(1) != exported.argmax(1)).sum())
    familiarity_difference = float((np.abs(familiarity - exported_familiarity) / (1 + np.abs(familiarity))).max())
    if changed or not (difference <= MAX_DIFFERENCE and familiarity_difference <= MAX_RELATIVE_DIFFERENCE):
        raise RunError(
            f"the exported network reads {changed} of {len(images):,} digits differently, and its probabilities "
            f"or familiarity differ by up to {max(difference, familiarity_difference):.1e}; nothing was written"
        )
    return difference


def _calibration(trained: Trained, digits: Images) -> Images:
    """Images for the ranges of the 8-bit values: digits, or training images of other classes."""
    checkpoint = Checkpoint(trained.checkpoint)
    if checkpoint.data.are_digits:
        return digits[:CALIBRATION_IMAGES]
    part = data_of(checkpoint).training_set()
    chosen = part.images[part.members].numpy()
    return np.resize(np.random.default_rng(0).permutation(chosen), (CALIBRATION_IMAGES, *chosen.shape[1:]))


def _quantised(file: Path, images: Images) -> Path:
    """Quantise the weights to 7 bits and the feature maps to 8, with ranges calibrated on some digits."""
    from onnxruntime import quantization

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.batches = iter(np.split(images, len(images) // 50))

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    prepared, small = file.with_name("prepared.onnx"), file.with_name("int8.onnx")
    with _silent():
        quantization.shape_inference.quant_pre_process(file, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            small,
            Calibration(),
            per_channel=True,
            reduce_range=True,  # 7 bits: with 8, sums of two products overflow on processors without VNNI
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "MaxPool"],
        )
    return small


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the exporter and the quantiser."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _measure_int8(trained: Trained, file: Path) -> str:
    """Measure the test accuracy with 32 bits and with 8; record that of 8 bits in the file."""
    data = data_of(Checkpoint(trained.checkpoint))
    test = data.test_set()
    images, labels = test.images.numpy(), test.labels.numpy()
    full, small = (
        float((load(source).probabilities(images).argmax(1) == labels).mean()) for source in (trained.checkpoint, file)
    )
    _describe(file, test_accuracy=json.dumps(small), dataset=data.description["name"])
    return (
        f"Test accuracy {100 * full:.2f} % with 32 bits, {100 * small:.2f} % with 8: "
        f"{100 * (small - full):+.2f} points, on {data.description['name']}"
    )


def _describe(file: Path, **about: str) -> None:
    """Add metadata to a file; replace values of the same name."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {**{item.key: item.value for item in model.metadata_props}, **about})
    onnx.save(model, file)
