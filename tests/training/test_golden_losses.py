"""Notices code changes that change results: the losses of a few steps must equal those in golden_losses.json.

If a change of the losses is intended, WRITE_GOLDEN=1 writes the new ones; in one process, without xdist.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback

from digits.training.train import train

from ..helpers import composed

FILE = Path(__file__).with_name("golden_losses.json")
GOLDEN: dict[str, list[float]] = json.loads(FILE.read_text(encoding="utf-8"))  # by command line
STEPS = (1, 5, 10)


class Losses(Callback):
    """Records the loss of each training step."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.kept.append(float(outputs["loss"]))


@pytest.mark.parametrize("command", GOLDEN)
def test_the_losses_equal_the_recorded_ones(command: str, tmp_path: Path) -> None:
    losses = Losses()
    train(composed(*command.removeprefix("python train.py ").split()), tmp_path, callbacks=[losses])
    assert len(losses.kept) == STEPS[-1]
    seen = [losses.kept[step - 1] for step in STEPS]
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN[command] = [round(loss, 5) for loss in seen]
        FILE.write_text(json.dumps(GOLDEN, indent=2) + "\n", encoding="utf-8")
    assert seen == pytest.approx(GOLDEN[command], rel=0.01)  # threads and processors add in different orders
