"""Time for an epoch of normalised batches: digits' data module and torchvision's MNIST in a DataLoader, in turn.

python benchmarks/loader.py
"""

import statistics
import tempfile
import time

import torch
from common import QUICK, machine, spread, write, write_raw
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from digits.config import DataConfig
from digits.data.mnist import MNISTDataModule
from digits.model.network import normalise
from digits.model.spec import DataSpec

BATCH_SIZE = 200
REPEATS = 1 if QUICK else 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_raw(folder)
        steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((DataSpec.mean,), (DataSpec.std,))])
        theirs = DataLoader(MNIST(folder, train=True, transform=steps), BATCH_SIZE, shuffle=True)
        data = MNISTDataModule(DataConfig(root=folder, batch_size=BATCH_SIZE, val_size=0))
        data.setup()
        ours = data.train_dataloader()

        times: dict[str, list[float]] = {"torchvision": [], "digits": []}
        for _ in range(REPEATS):
            started = time.perf_counter()
            images = sum(len(labels) for _, labels in theirs)
            times["torchvision"].append(time.perf_counter() - started)

            started = time.perf_counter()
            seen = 0
            for digits, labels in ours:
                assert normalise(digits, data.spec).dtype == torch.float32  # as the network does
                seen += len(labels)
            times["digits"].append(time.perf_counter() - started)
            assert images == seen == 60_000
    print(machine())
    for name, seconds in times.items():
        print(f"{name:<12} {spread(seconds)} for 60,000 images in batches of {BATCH_SIZE}")
    print(f"ratio        {statistics.median(times['torchvision']) / statistics.median(times['digits']):.1f}")
    write("loader", times)


if __name__ == "__main__":
    main()
