"""What Lightning and digits cost: a recipe's training beside bare loops over the same tensors, network and optimizer.

python benchmarks/loop.py

Each is a process of its own, and they take turns. The second bare loop has the memory setting that digits makes.
"""

import json
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import QUICK, last_line, machine, official, run, spread, write
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.nn.functional import cross_entropy

from digits import config, device, training
from digits.classifier import build_network
from digits.data import MNISTDataModule, normalise

RECIPES = {
    "experiment=fast": ["experiment=fast"],
    "an epoch of model=article in fp32": ["trainer.max_epochs=1", "trainer.precision=32-true"],
}
REPEATS = {"experiment=fast": 1 if QUICK else 10, "an epoch of model=article in fp32": 0 if QUICK else 3}


def configuration(recipe: str) -> DictConfig:
    root = next(iter(official().paths.values())).parent
    with initialize_config_dir(str(config.directory()), version_base="1.3"):
        return compose("train", [*RECIPES[recipe], "trainer.accelerator=cpu", f"data.root={root}"])


def bare_loop(recipe: str) -> float:
    """Seconds of the training in plain torch: the same tensors, network, optimizer, schedule and arithmetic."""
    cfg = config.check(configuration(recipe))
    torch.manual_seed(cfg.seed)
    data = MNISTDataModule(root=cfg.data.root, val_size=cfg.data.val_size)
    data.setup()
    digits: Any = data.train_dataloader().dataset
    images, labels = digits.images[digits.members], digits.labels[digits.members]
    arithmetic = device.arithmetic(cfg)
    network = build_network(asdict(cfg.model)).train().to(memory_format=torch.channels_last)
    given = {key: value for key, value in arithmetic.optimizer.items() if key != "_target_"}
    optimizer = torch.optim.Adam(network.parameters(), **given)
    limit = cfg.trainer.limit_train_batches
    steps = limit if isinstance(limit, int) else len(labels) // cfg.data.batch_size
    shape: dict[str, Any] = {**asdict(cfg.scheduler)} if cfg.scheduler else {}
    del shape["_target_"], shape["interval"]
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, cfg.optimizer.lr, steps, **shape)
    bf16 = arithmetic.precision == "bf16-mixed"
    started = time.perf_counter()
    order: Any = torch.randperm(len(labels))
    for chosen in order.split(cfg.data.batch_size)[:steps]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(normalise(images[chosen]))
        loss: Any = cross_entropy(logits.float(), labels[chosen], label_smoothing=cfg.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - started


def bare_loop_keeping_memory(recipe: str) -> float:
    device.settle()
    return bare_loop(recipe)


def digits(recipe: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return training.train(configuration(recipe), Path(folder)).train_seconds


CANDIDATES = {"bare loop": bare_loop, "bare loop, memory kept": bare_loop_keeping_memory, "digits": digits}


def main() -> None:
    if len(sys.argv) == 3:
        logging.disable(logging.INFO)
        print(json.dumps(CANDIDATES[sys.argv[1]](sys.argv[2])))
        return
    print(machine())
    figures = {}
    for recipe, repeats in REPEATS.items():
        times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
        for _ in range(repeats):
            for name, seconds in times.items():
                seconds.append(last_line(run(__file__, name, recipe)))
        for name, seconds in times.items() if repeats else ():
            ratios = [ours / other for ours, other in zip(times["digits"], seconds, strict=True)]
            print(f"{recipe}: {name:<22}  {spread(seconds)}; digits takes {statistics.median(ratios):.3f} of it")
        figures[recipe] = times
    write("loop", figures)


if __name__ == "__main__":
    main()
