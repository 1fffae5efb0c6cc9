"""Training speed and memory as the data grow: an epoch of the official training images, repeated up to 50 times.

python benchmarks/scale.py

Each size runs in its own process, from files to results.json; it repeats the images in memory.
"""

import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import QUICK, last_line, machine, official_folder, run, write

from digits.config import DataConfig
from digits.data import mnist
from digits.data.reading import Raw, read
from digits.overrides import compose
from digits.training import train as training

REPEATS = {1: 1, 2: 1} if QUICK else {1: 3, 10: 3, 50: 1}  # of each size
IMAGE = 28 * 28  # bytes


def train_on_repeated(times: int) -> dict[str, float]:
    """Train an epoch of model=strided, and return the number of images and the time."""

    def repeated(cfg: DataConfig) -> Raw:
        raw = read(cfg)
        return raw._replace(images=np.tile(raw.images, (times, 1, 1)), labels=np.tile(raw.labels, times))

    mnist.read = repeated  # type: ignore[attr-defined]
    root = official_folder()
    words = ["experiment=fast", "trainer.limit_train_batches=1.0", "trainer.accelerator=cpu", f"data.root={root}"]
    cfg = compose(*words)
    with tempfile.TemporaryDirectory() as folder:
        results = training.train(cfg, Path(folder))
    return {"images": results.dataset["train"], "train_seconds": results.train_seconds}


def main() -> None:
    if len(sys.argv) == 2:
        logging.disable(logging.INFO)
        print(json.dumps(train_on_repeated(int(sys.argv[1]))))
        return
    rows: dict[int, list[dict[str, float]]] = {times: [] for times in REPEATS}
    for turn in range(max(REPEATS.values())):
        for times, repeats in REPEATS.items():
            if turn < repeats:
                process = run(__file__, str(times))
                rows[times].append({**last_line(process), "peak_memory": process.peak_memory})
    print(machine())
    print("| images | images a second | peak memory | growth in memory, relative to that of the images |")
    print("|---|---|---|---|")
    smallest = statistics.median(row["peak_memory"] for row in rows[1])
    for measured in rows.values():
        speeds = [row["images"] / row["train_seconds"] for row in measured]
        memory = statistics.median(row["peak_memory"] for row in measured)
        more = (measured[0]["images"] - rows[1][0]["images"]) * IMAGE / 2**20
        growth = f"{(memory - smallest) / more:.2f}" if more else ""
        spread = f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f}, n = {len(speeds)})"
        print(f"| {measured[0]['images']:,.0f} | {spread} | {memory:,.0f} MiB | {growth} |")
    write("scale", {str(times): measured for times, measured in rows.items()})


if __name__ == "__main__":
    main()
