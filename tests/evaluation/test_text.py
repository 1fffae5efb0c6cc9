"""The text of an evaluation fits the terminal."""

from digits.evaluation.metrics import DigitMetrics, Evaluation, Mistake, ReliabilityBin
from digits.evaluation.text import evaluation_text


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
