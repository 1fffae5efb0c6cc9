"""Prediction speed of model=compact: the 10,000 test digits, from bytes to classes, in batches.

python benchmarks/prediction.py
"""

import statistics
import time
from dataclasses import asdict

import torch
from common import QUICK, machine, official, spread, write

from digits.data.download import parse_idx
from digits.model.classifier import DigitClassifier
from digits.overrides import compose
from digits.training import hardware as device
from digits.validation import resolve

BATCH_SIZE = 500
REPEATS = 5 if QUICK else 20


def main() -> None:
    device.speed_up()
    cfg = resolve(compose("model=compact"))
    classifier = DigitClassifier(asdict(cfg.model), asdict(cfg.optimizer)).eval()
    images = torch.from_numpy(parse_idx(official().contents["t10k-images-idx3-ubyte"]))
    speeds: dict[str, list[float]] = {"bf16": [], "fp32": []}
    for _ in range(REPEATS + 1):
        for arithmetic, figures in speeds.items():
            started = time.perf_counter()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=arithmetic == "bf16"):
                answers = [classifier(batch).argmax(1) for batch in torch.split(images, BATCH_SIZE)]
            figures.append(len(torch.cat(answers)) / (time.perf_counter() - started))
    print(machine())
    for arithmetic, figures in speeds.items():
        del figures[0]  # the first pass also creates the kernels
        print(f"{arithmetic}  {spread(figures, 'images/s')}, median {statistics.median(figures):,.0f}")
    write("prediction", speeds)


if __name__ == "__main__":
    main()
