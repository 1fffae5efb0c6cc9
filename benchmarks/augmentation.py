"""Time to augment a batch, compared with a training step of model=compact on it: alternately, in one process.

python benchmarks/augmentation.py
"""

import statistics
import time
from typing import Any

import torch
from common import QUICK, machine, spread, write
from loop import configuration, plain_step

from digits.config import DataConfig
from digits.data.augmentation import Augmentation
from digits.data.mnist import MNISTDataModule
from digits.training import hardware as device
from digits.validation import resolve

STEPS = 20 if QUICK else 200
WARM_UP = 10
CHOICES = {name: ["data/augment=" + name] for name in ("affine", "elastic", "erase")} | {
    "affine, strokes": ["data/augment=affine", "data.augment.thickness=0.6", "data.augment.serif=0.3"]
}


def main() -> None:
    print(machine())
    device.speed_up()
    cfg = resolve(configuration("model=compact"))
    data = MNISTDataModule(DataConfig(root=cfg.data.root, batch_size=cfg.data.batch_size))
    data.setup()
    digits: Any = data.train_dataloader().dataset
    _, step = plain_step(cfg)
    choices = {name: resolve(configuration(*words)).data.augment for name, words in CHOICES.items()}
    augmentations = {name: Augmentation(augment) for name, augment in choices.items() if augment}
    times: dict[str, list[float]] = {name: [] for name in ("step", *augmentations)}
    order: Any = torch.randperm(len(digits.members))
    for chosen in order.split(cfg.data.batch_size)[: WARM_UP + STEPS]:
        images, labels = digits.images[digits.members[chosen]], digits.labels[digits.members[chosen]]
        started = time.perf_counter()
        step(images, labels)
        times["step"].append(time.perf_counter() - started)
        for name, augmentation in augmentations.items():
            started = time.perf_counter()
            augmentation(images)
            times[name].append(time.perf_counter() - started)
    milliseconds = {name: [1000 * one for one in seconds[WARM_UP:]] for name, seconds in times.items()}
    step_times = milliseconds["step"]
    print(f"a step of {cfg.data.batch_size} digits: {spread(step_times, 'ms')}")
    for name in augmentations:
        fraction = statistics.median(part / total for part, total in zip(milliseconds[name], step_times, strict=True))
        print(f"{name:<16} {spread(milliseconds[name], 'ms')}, {100 * fraction:.1f} % of a step")
    write("augmentation", {"milliseconds": milliseconds})


if __name__ == "__main__":
    main()
