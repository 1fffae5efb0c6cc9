"""A change of the code that changes what is computed shows here: the losses of a few steps are in golden_losses.json.

WRITE_GOLDEN=1 writes them anew, for a change that is meant to change them.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback

from digits.training import train

from .helpers import composed

FILE = Path(__file__).with_name("golden_losses.json")
GOLDEN: dict[str, list[float]] = json.loads(FILE.read_text(encoding="utf-8"))  # by what follows python train.py
COMMON = ["data=sample", "trainer.accelerator=cpu", "trainer.precision=32-true", "report=false"]
STEPS = (1, 5, 10)


class Losses(Callback):
    """Keeps the loss of each training step."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.kept.append(float(outputs["loss"]))


@pytest.mark.parametrize("words", GOLDEN)
def test_the_losses_are_those_that_were_seen(words: str, tmp_path: Path) -> None:
    losses = Losses()
    train(composed(*COMMON, *words.split()), tmp_path, callbacks=[losses])
    assert len(losses.kept) == STEPS[-1]
    seen = [losses.kept[step - 1] for step in STEPS]
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN[words] = [round(loss, 5) for loss in seen]
        FILE.write_text(json.dumps(GOLDEN, indent=2) + "\n", encoding="utf-8")
    assert seen == pytest.approx(GOLDEN[words], rel=2e-3)  # processors add in different orders
