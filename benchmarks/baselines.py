"""The two baselines of digits, in a few lines of plain torch each; both print a line of JSON at the end.

python benchmarks/baselines.py article SEED        the article's loop: torchvision's MNIST, transforms per image, fp32
python benchmarks/baselines.py known_recipe SEED   99 % in one epoch: images in memory, small network, one-cycle

The article tests on images that it trained on, with dropout active; here it is tested as digits is.
"""

import json
import sys
import tempfile
import time
from typing import Any

import torch
from common import official, write_raw
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from digits.data.download import parse_idx

MEAN, STD = 0.1307, 0.3081


class Article(nn.Module):
    """The article's network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2))
        self.layer2 = nn.Sequential(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2))
        self.drop_out = nn.Dropout()
        self.fc1 = nn.Linear(7 * 7 * 64, 1000)
        self.fc2 = nn.Linear(1000, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer2(self.layer1(x))
        logits: Tensor = self.fc2(self.fc1(self.drop_out(out.reshape(out.size(0), -1))))
        return logits


def article(seed: int, fraction: float = 1.0) -> dict[str, float]:
    """Train for an epoch, or for a fraction of one, from which the time of an epoch is extrapolated."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        write_raw(folder)
        steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
        train_loader = DataLoader(MNIST(folder, train=True, transform=steps), batch_size=200, shuffle=True)
        test_loader = DataLoader(MNIST(folder, train=False, transform=steps), batch_size=200)
        model = Article()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses, accuracies = [], []
        last = round(fraction * len(train_loader))
        started = time.perf_counter()
        for step, (images, labels) in enumerate(train_loader, start=1):
            outputs = model(images)
            loss = criterion(outputs, labels)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            accuracies.append((outputs.argmax(1) == labels).sum().item() / len(labels))
            if step % 100 == 0:
                print(f"step {step}/{last}, loss {loss.item():.4f}, accuracy {100 * accuracies[-1]:.2f} %")
            if step == last:
                break
        seconds = time.perf_counter() - started
        model.eval()
        with torch.no_grad():
            correct = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in test_loader)
    return {"train_seconds": seconds / fraction, "test_accuracy": correct / 10_000}


def known_recipe(seed: int) -> dict[str, float]:
    """Train for an epoch in batches of 256."""
    torch.manual_seed(seed)
    arrays: list[Any] = [torch.from_numpy(parse_idx(content)) for content in official().contents.values()]
    images, test_images = (((part[:, None] / 255) - MEAN) / STD for part in (arrays[0], arrays[2]))
    labels, test_labels = arrays[1].long(), arrays[3].long()
    network = nn.Sequential(
        *(nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.7, 0.9))
    steps = -(-len(images) // 256)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    started = time.perf_counter()
    for chosen in torch.split(torch.randperm(len(images)), 256):
        optimizer.zero_grad()
        cross_entropy(network(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        batches = zip(torch.split(test_images, 1000), torch.split(test_labels, 1000), strict=True)
        correct = sum(int((network(part).argmax(1) == answers).sum()) for part, answers in batches)
    return {"train_seconds": seconds, "test_accuracy": correct / 10_000}


if __name__ == "__main__":
    name, seed, *fraction = sys.argv[1:]
    print(json.dumps({"article": article, "known_recipe": known_recipe}[name](int(seed), *map(float, fraction))))
