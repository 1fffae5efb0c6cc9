"""The three recipes on a GPU, compared with a plain loop whose step is one CUDA graph; at most eight minutes.

python benchmarks/gpu.py [--quick] [--cpu]

For each recipe: training time and accuracy of digits, the GPU operations per step, and the time of the plain loop.
Finally, whether an interrupted deterministic training ends with the same bits. With `--cpu`, everything runs without a
GPU and without a graph, to try the program.
"""

import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from common import QUICK, last_line, machine, official_folder, run, spread, write
from lightning import Callback
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from digits.data.batches import move
from digits.data.mnist import MNISTDataModule
from digits.model.network import build_network
from digits.overrides import compose
from digits.training.train import train
from digits.validation import resolve

CPU = "--cpu" in sys.argv
if CPU:
    sys.argv.remove("--cpu")
ACCELERATOR, DEVICE = ("cpu", torch.device("cpu")) if CPU else ("gpu", torch.device("cuda"))
ACTIVITIES = [ProfilerActivity.CPU, *([] if CPU else [ProfilerActivity.CUDA])]
WARM_UP, PROFILED = 11, 50  # steps
RESUMED = 20 if QUICK else 150  # steps of each of two epochs
COUNTED = ("LaunchKernel", "GraphLaunch", "Synchronize", "Memcpy", "Memset", "aten::_local_scalar_dense", "aten::copy_")


@dataclass
class Recipe:
    """A recipe, how often it is trained, and the goal in seconds."""

    words: list[str]
    repeats: int
    goal: float


RECIPES = {
    "fast": Recipe(["experiment=fast"], 5, 0.45),
    "article": Recipe(["experiment=article", "trainer.max_epochs=4"], 3, 4 * 0.35),
    "accurate": Recipe(["experiment=accurate"], 1, 20.0),
}


def words(recipe: Recipe) -> list[str]:
    """The overrides of a recipe; with --quick, for a few steps only."""
    root = official_folder()
    short = [f"trainer.limit_train_batches={WARM_UP + PROFILED + 9}", "trainer.max_epochs=1"] if QUICK else []
    return [*recipe.words, *short, "report=false", f"trainer.accelerator={ACCELERATOR}", f"data.root={root}"]


def digits(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        results = train(compose(*words(RECIPES[name])), folder)
        figures = {"seconds": results.train_seconds, "accuracy": results.test_accuracy, "steps": results.steps}
    if not CPU:
        figures["megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    return figures


class Counts(Callback):
    """Counts the GPU operations of 50 steps, by kind."""

    def __init__(self) -> None:
        self.step, self.found = 0, Counter[str]()
        self.profiler = profile(activities=ACTIVITIES)

    def on_train_batch_start(self, *args: Any) -> None:
        if self.step == WARM_UP:
            self.profiler.start()

    def on_train_batch_end(self, *args: Any) -> None:
        self.step += 1
        if self.step == WARM_UP + PROFILED:
            self.profiler.stop()
            for event in self.profiler.key_averages():
                self.found.update({kind: event.count for kind in COUNTED if kind in event.key})


def profiled(name: str) -> dict[str, float]:
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        train(compose(*words(RECIPES[name]), "trainer.max_epochs=1"), folder, callbacks=[counts])
    return {kind: number / PROFILED for kind, number in counts.found.items()}


def plain(name: str) -> dict[str, Any]:
    """Time a training in plain torch: augmentation, network, loss, optimizer, linear schedule, moving average."""
    cfg = resolve(compose(*words(RECIPES[name])))
    torch.manual_seed(cfg.seed)
    data = MNISTDataModule(cfg.data)
    data.setup()
    part = move((data.training_set(), data.validation_set(), data.test_set()), DEVICE)[0]
    images, labels = part.images[part.members], part.labels[part.members]
    network = build_network(asdict(cfg.model)).train().to(DEVICE).to(memory_format=torch.channels_last)
    average = [value.detach().clone() for value in network.parameters()]
    settings = asdict(cfg.optimizer)
    kind = getattr(torch.optim, str(settings.pop("_target_")).rpartition(".")[2])
    settings |= {"fused": True} if CPU else {"fused": True, "capturable": True, "lr": torch.tensor(settings["lr"])}
    optimizer = kind(network.parameters(), **settings)
    batch = [torch.zeros_like(part[: cfg.data.batch_size]) for part in (images, labels)]

    def step() -> None:
        inputs, expected = batch
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            logits = network(data.augmentation(inputs) if data.augmentation else inputs)
        loss: Any = cross_entropy(logits.float(), expected, label_smoothing=cfg.label_smoothing)
        loss.backward()
        optimizer.step()
        torch._foreach_lerp_(average, list(network.parameters()), 0.001)

    replay = step if CPU else _graph(step, network)
    limit = cfg.trainer.limit_train_batches
    steps = int(limit) if limit > 1 else int(limit * len(labels) / cfg.data.batch_size)
    rates = torch.linspace(cfg.optimizer.lr, 0, steps * cfg.trainer.max_epochs, device=DEVICE)
    _wait()
    started = perf_counter()
    for epoch in range(cfg.trainer.max_epochs):
        order: Any = torch.randperm(len(labels)).to(DEVICE)
        for number, chosen in enumerate(order.split(cfg.data.batch_size)[:steps]):
            if len(chosen) < cfg.data.batch_size:
                continue
            for target, source in zip(batch, (images, labels), strict=True):
                torch.index_select(source, 0, chosen, out=target)
            if not CPU:
                optimizer.param_groups[0]["lr"].copy_(rates[epoch * steps + number])
            replay()
    _wait()
    return {"seconds": perf_counter() - started}


def _graph(step: Callable[[], None], network: nn.Module) -> Callable[[], None]:
    """Capture a step as one CUDA graph, after warm-up steps on another stream, as torch's manual requires."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    network.load_state_dict(before)
    return graph.replay


def _wait() -> None:
    if not CPU:
        torch.cuda.synchronize()


class Stop(Callback):
    """Interrupts a training in its second epoch."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == RESUMED * 3 // 2:
            raise KeyError("interrupted")


def resumed(name: str) -> dict[str, Any]:
    """Whether an interrupted deterministic training of two epochs ends with the weights of an uninterrupted one."""
    common = ["trainer.deterministic=true", "trainer.max_epochs=2", f"trainer.limit_train_batches={RESUMED}"]
    cfg = compose(*words(RECIPES[name]), *common, "callbacks.checkpoint.every_n_steps=8")
    with tempfile.TemporaryDirectory() as folder:
        train(cfg, f"{folder}/whole")
        try:
            train(cfg, f"{folder}/cut", callbacks=[Stop()])
        except KeyError:
            train(cfg, f"{folder}/cut")
        files = [Path(folder, run, "checkpoints/last.ckpt") for run in ("whole", "cut")]
        found = [torch.load(file, weights_only=True) for file in files]
    whole, cut = (content["state_dict"] for content in found)
    return {"equal": all(torch.equal(whole[key], value) for key, value in cut.items()), "epochs": found[1]["epoch"] + 1}


PARTS: dict[str, Callable[[str], Any]] = {"digits": digits, "plain": plain, "profiled": profiled, "resumed": resumed}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(PARTS[sys.argv[1]](sys.argv[2])))
        return
    if not CPU and not torch.cuda.is_available():
        sys.exit("There is no CUDA GPU here. --cpu tries the program without one.")
    options = [*(["--quick"] if QUICK else []), *(["--cpu"] if CPU else [])]

    def part(kind: str, name: str) -> Any:
        return last_line(run(__file__, kind, name, *options))

    print(machine(), "" if CPU else torch.cuda.get_device_name())
    measured: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        repeats = 1 if QUICK else recipe.repeats
        ours, bare = zip(*[(part("digits", name), part("plain", name)) for _ in range(repeats)], strict=True)
        measured[name] = {"digits": ours, "plain": bare, "per step": part("profiled", name)}
        seconds, others = ([row["seconds"] for row in rows] for rows in (ours, bare))
        ratio = statistics.median(one / other for one, other in zip(seconds, others, strict=True))
        print(f"{name:<9} {spread(seconds)}, goal {recipe.goal}; plain loop {spread(others)}, ratio {ratio:.2f}")
        print(f"          accuracy {[row['accuracy'] for row in ours]}, MB {ours[0].get('megabytes', 0):.0f}")
        print(f"          per step: {measured[name]['per step']}")
    measured["resumed"] = {name: part("resumed", name) for name in ("article", "accurate")}
    print(f"resumed with the same bits: {measured['resumed']}")
    write("gpu", measured)


if __name__ == "__main__":
    main()
