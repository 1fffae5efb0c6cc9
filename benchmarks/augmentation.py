"""What augmentation adds to the training of model=compact: an epoch each, in whole processes, in turn.

python benchmarks/augmentation.py
"""

import json
import statistics
import tempfile
from pathlib import Path

from common import QUICK, machine, official, run, spread, write

REPEATS = 1 if QUICK else 7
CHOICES = ("none", "affine", "elastic", "erase")


def main() -> None:
    official()
    print(machine())
    seconds: dict[str, list[float]] = {name: [] for name in CHOICES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(REPEATS):
            for name, measured in seconds.items():
                path = Path(folder) / f"{name}{turn}"
                words = ["model=compact", "trainer.max_epochs=1", "report=false", f"data/augment={name}"]
                run("train.py", *words, f"hydra.run.dir={path}")
                measured.append(json.loads((path / "results.json").read_text())["train_seconds"])
    for name, measured in seconds.items():
        ratio = statistics.median(one / none for one, none in zip(measured, seconds["none"], strict=True))
        print(f"data/augment={name}: {spread(measured)}, {ratio:.3f} of that without")
    write("augmentation", seconds)


if __name__ == "__main__":
    main()
