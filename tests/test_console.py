"""What commands print: durations, and tables that fit the terminal."""

import pytest

from digits.console import duration, layer_table
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


def test_durations() -> None:
    found = [duration(seconds) for seconds in (0.84, 9.94, 42, 59.4, 59.6, 185, 7_800)]
    assert found == ["0.8 s", "9.9 s", "42 s", "59 s", "1 min 00 s", "3 min 05 s", "2 h 10 min"]
