"""The overhead of digits and Lightning: experiment=fast compared with bare loops over the same tensors and network.

python benchmarks/loop.py

Each runs in its own process, and they take turns. The second bare loop uses the memory settings of digits.
"""

import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import QUICK, last_line, machine, official_folder, run, spread, write
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from digits.config import DataConfig, TrainConfig
from digits.data.mnist import MNISTDataModule
from digits.model.network import build_network
from digits.overrides import compose
from digits.training import hardware as device
from digits.training import train as training
from digits.validation import resolve

REPEATS = 1 if QUICK else 10


def configuration(*words: str) -> DictConfig:
    root = official_folder()
    return compose(*words, "trainer.accelerator=cpu", f"data.root={root}")


def plain_step(cfg: TrainConfig) -> tuple[torch.optim.Optimizer, Callable[[Tensor, Tensor], None]]:
    """The optimizer Adam, and a training step in plain torch with the network and the arithmetic that digits uses."""
    arithmetic = device.choose(cfg)
    assert cfg.optimizer._target_ == "torch.optim.Adam"
    network = build_network(asdict(cfg.model)).train().to(memory_format=getattr(torch, arithmetic.memory_format))
    settings = {key: value for key, value in arithmetic.optimizer.items() if key != "_target_"}
    optimizer = torch.optim.Adam(network.parameters(), **settings)
    bf16 = arithmetic.precision == "bf16-mixed"

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(images)
        loss: Any = cross_entropy(logits.float(), labels, label_smoothing=cfg.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return optimizer, step


def bare_loop() -> float:
    """Seconds of the training in plain torch: the same tensors, network, optimizer, schedule and arithmetic."""
    cfg = resolve(configuration("experiment=fast"))
    torch.manual_seed(cfg.seed)
    data = MNISTDataModule(DataConfig(root=cfg.data.root, val_size=cfg.data.val_size))
    data.setup()
    digits: Any = data.train_dataloader().dataset
    images, labels = digits.images[digits.members], digits.labels[digits.members]
    optimizer, step = plain_step(cfg)
    steps = int(cfg.trainer.limit_train_batches)
    assert cfg.scheduler
    schedule_settings: dict[str, Any] = asdict(cfg.scheduler)
    del schedule_settings["_target_"], schedule_settings["interval"]
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, cfg.optimizer.lr, steps, **schedule_settings)
    started = time.perf_counter()
    order: Any = torch.randperm(len(labels))
    for chosen in order.split(cfg.data.batch_size)[:steps]:
        step(images[chosen], labels[chosen])
        scheduler.step()
    return time.perf_counter() - started


def bare_loop_keeping_memory() -> float:
    device.speed_up()
    return bare_loop()


def digits() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return training.train(configuration("experiment=fast"), Path(folder)).train_seconds


CANDIDATES = {"bare loop": bare_loop, "bare loop, memory kept": bare_loop_keeping_memory, "digits": digits}


def main() -> None:
    if len(sys.argv) == 2:
        logging.disable(logging.INFO)
        print(json.dumps(CANDIDATES[sys.argv[1]]()))
        return
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(REPEATS):
        for name, seconds in times.items():
            seconds.append(last_line(run(__file__, name)))
    print(machine())
    for name, seconds in times.items():
        ratios = [ours / other for ours, other in zip(times["digits"], seconds, strict=True)]
        print(f"{name:<22}  {spread(seconds)}; digits takes {statistics.median(ratios):.3f} of it")
    write("loop", times)


if __name__ == "__main__":
    main()
