"""Accuracy and time of digits' recipes, the article's loop and the best-known fast recipe, in separate processes.

python benchmarks/recipes.py

They take turns. `train.py` is called as a user calls it; its figures come from its results.json.
"""

import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import QUICK, last_line, machine, official_folder, run, spread, write


@dataclass
class Candidate:
    """A recipe, and the figures of its runs."""

    name: str
    measure: Callable[[int], tuple[dict[str, float], Any]]
    repeats: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def of(self, figure: str) -> list[float]:
        return [row[figure] for row in self.rows]


def baseline(name: str, *words: str) -> Callable[[int], tuple[dict[str, float], Any]]:
    def measure(seed: int) -> tuple[dict[str, float], Any]:
        process = run("benchmarks/baselines.py", name, str(seed), *words)
        return last_line(process), process

    return measure


def digits(*words: str) -> Callable[[int], tuple[dict[str, float], Any]]:
    def measure(seed: int) -> tuple[dict[str, float], Any]:
        with tempfile.TemporaryDirectory() as folder:
            where = (f"seed={seed}", f"hydra.run.dir={folder}", "trainer.accelerator=cpu")
            process = run("train.py", *words, *where)
            results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        return {figure: results[figure] for figure in ("train_seconds", "test_accuracy")}, process

    return measure


def main() -> None:
    os.environ["MNIST_ROOT"] = str(official_folder())
    article, known, fast, default = every = (
        Candidate(
            "the article's loop, one epoch", baseline("article", *(["0.15"] if QUICK else [])), 1 if QUICK else 5
        ),
        Candidate("the best-known fast recipe", baseline("known_recipe"), 1 if QUICK else 10),
        Candidate("train.py experiment=fast", digits("experiment=fast"), 2 if QUICK else 20),
        Candidate("train.py trainer.max_epochs=1", digits("trainer.max_epochs=1"), 0 if QUICK else 3),
    )
    candidates = [candidate for candidate in every if candidate.repeats]
    most = max(candidate.repeats for candidate in candidates)
    for turn in range(most):
        for candidate in candidates:
            if len(candidate.rows) * most < candidate.repeats * (turn + 1):
                figures, process = candidate.measure(len(candidate.rows))
                memory = {"wall_seconds": process.wall_seconds, "peak_memory": process.peak_memory}
                candidate.rows.append({**figures, **memory})
                print(f"{turn + 1}/{most} {candidate.name}: {candidate.rows[-1]}", flush=True)

    print(machine())
    print("\n| | test accuracy, mean | training | whole process | peak memory |\n|---|---|---|---|---|")
    for candidate in candidates:
        accuracies = [100 * accuracy for accuracy in candidate.of("test_accuracy")]
        note = " after a part of it" if QUICK and candidate is article else ""
        print(
            f"| {candidate.name} | {statistics.mean(accuracies):.2f} % ({min(accuracies):.2f} to {max(accuracies):.2f})"
            f"{note} | {spread(candidate.of('train_seconds'))} | {spread(candidate.of('wall_seconds'))} "
            f"| {statistics.median(candidate.of('peak_memory')):,.0f} MiB |"
        )
    median = {candidate.name: statistics.median(candidate.of("train_seconds")) for candidate in candidates}
    accuracies = fast.of("test_accuracy")
    error = statistics.stdev(accuracies) / math.sqrt(len(accuracies))
    print(f"\nexperiment=fast: {100 * statistics.mean(accuracies):.3f} %, standard error {100 * error:.3f} %")
    ratios = {
        "known recipe / fast": median[known.name] / median[fast.name],
        "article's epoch / fast": median[article.name] / median[fast.name],
    }
    if default in candidates:
        ratios["default's epoch / article's"] = median[default.name] / median[article.name]
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.3g}")
    write("recipes", {"ratios": ratios, "runs": {candidate.name: candidate.rows for candidate in candidates}})


if __name__ == "__main__":
    main()
