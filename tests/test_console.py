"""What commands print: durations, and tables that fit the terminal."""

import pytest

from digits.console import duration, evaluation_text, layer_table
from digits.evaluation.metrics import DigitMetrics, Evaluation, Mistake, ReliabilityBin
from digits.model.geometry import layers
from digits.validation import resolve

from .helpers import composed


@pytest.mark.parametrize("model", ["article", "compact", "deep", "mlp", "unpadded"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_of_layers_fits_the_terminal(model: str, width: int) -> None:
    cfg = resolve(composed(f"model={model}"))
    table = layers(cfg.model.blocks, cfg.model.head)
    lines = layer_table(table, width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert f"{table[0].parameters:,}" in text
    assert lines[-1].split() == ["total", f"{sum(one.parameters for one in table):,}", lines[-1].split()[-1]]


def test_the_text_of_an_evaluation_fits_60_columns() -> None:
    """With the longest numbers that the official test set can give."""
    evaluation = Evaluation(
        dataset="mnist",
        images=10_000,
        test_accuracy=0.1135,
        test_loss=2.3010,
        calibration_error=0.1234,
        digits=[DigitMetrics(digit, 1135, 1.0, 1.0, 1.0) for digit in range(10)],
        confusion_matrix=[[1135] * 9 + [0]] * 10,
        reliability=[ReliabilityBin(0.1, 10_000, 0.1, 1.0)],
        mistakes=8_865,
        worst=[Mistake(9_999, 1, 7, 1.0, 0.0, "")],
        examples=[""] * 10,
    )
    text = evaluation_text(evaluation)
    assert max(map(len, text.splitlines())) == 60  # the first line
    assert "    1 1135 1135 1135 1135 1135 1135 1135 1135 1135    ·" in text.splitlines()
    assert "    1    1135   100.00 %  100.00 %  100.00 %" in text.splitlines()
    assert "  image  9999: a 1 (0.00 %), read as 7 (100.00 %)" in text.splitlines()


def test_durations() -> None:
    found = [duration(seconds) for seconds in (0.84, 9.94, 42, 59.4, 59.6, 185, 7_800)]
    assert found == ["0.8 s", "9.9 s", "42 s", "59 s", "1 min 00 s", "3 min 05 s", "2 h 10 min"]
