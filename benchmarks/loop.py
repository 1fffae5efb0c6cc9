"""What Lightning and digits cost: an epoch of model=article in fp32, beside bare loops over the same tensors.

python benchmarks/loop.py

Each is a process of its own, and they take turns. The second bare loop has the memory setting that digits makes.
"""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import machine, official, spread
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.nn.functional import cross_entropy

from digits import config, device, training
from digits.classifier import build_network
from digits.data import MNISTDataModule, normalise

REPEATS = 5


def configuration() -> DictConfig:
    root = next(iter(official().paths.values())).parent
    words = ["trainer.max_epochs=1", "trainer.precision=32-true", "trainer.accelerator=cpu", f"data.root={root}"]
    with initialize_config_dir(str(config.directory()), version_base="1.3"):
        return compose("train", words)


def bare_loop() -> float:
    """Seconds of an epoch in plain torch: the same tensors, network, optimizer and schedule."""
    cfg = config.check(configuration())
    torch.manual_seed(cfg.seed)
    data = MNISTDataModule(root=cfg.data.root, val_size=cfg.data.val_size)
    data.setup()
    digits: Any = data.train_dataloader().dataset
    network = build_network(asdict(cfg.model)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=cfg.optimizer.lr, fused=True)
    batches = len(digits) // cfg.data.batch_size
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, cfg.optimizer.lr, batches, cycle_momentum=False)
    started = time.perf_counter()
    order: Any = torch.randperm(len(digits))
    for chosen in order.split(cfg.data.batch_size):
        loss: Any = cross_entropy(network(normalise(digits.images[chosen])), digits.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - started


def bare_loop_keeping_memory() -> float:
    device.settle()
    return bare_loop()


def digits() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return training.train(configuration(), Path(folder)).train_seconds


CANDIDATES = {"bare loop": bare_loop, "bare loop, memory kept": bare_loop_keeping_memory, "digits": digits}


def main() -> None:
    if len(sys.argv) == 2:
        logging.disable(logging.INFO)
        print(json.dumps(CANDIDATES[sys.argv[1]]()))
        return
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(REPEATS):
        for name, seconds in times.items():
            done = subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, check=True)
            seconds.append(float(done.stdout.splitlines()[-1]))
    print(machine())
    print(f"an epoch of 55,000 images, model=article, fp32, {REPEATS} times in turn")
    for name, seconds in times.items():
        ratios = [ours / other for ours, other in zip(times["digits"], seconds, strict=True)]
        print(f"{name:<22}  {spread(seconds)}; digits takes {statistics.median(ratios):.3f} of it")


if __name__ == "__main__":
    main()
