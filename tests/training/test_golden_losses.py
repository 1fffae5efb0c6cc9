"""A change of the code that changes what is computed shows here: the losses of a few steps are in golden_losses.json.

For a change that is meant to change them, WRITE_GOLDEN=1 writes them anew: in one process, without xdist.
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
GOLDEN: dict[str, list[float]] = json.loads(FILE.read_text(encoding="utf-8"))  # by their command
STEPS = (1, 5, 10)


class Losses(Callback):
    """Keeps the loss of each training step."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.kept.append(float(outputs["loss"]))


@pytest.mark.parametrize("command", GOLDEN)
def test_the_losses_are_those_that_were_seen(command: str, tmp_path: Path) -> None:
    losses = Losses()
    train(composed(*command.removeprefix("python train.py ").split()), tmp_path, callbacks=[losses])
    assert len(losses.kept) == STEPS[-1]
    seen = [losses.kept[step - 1] for step in STEPS]
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN[command] = [round(loss, 5) for loss in seen]
        FILE.write_text(json.dumps(GOLDEN, indent=2) + "\n", encoding="utf-8")
    assert seen == pytest.approx(GOLDEN[command], rel=0.01)  # threads and processors add in different orders
