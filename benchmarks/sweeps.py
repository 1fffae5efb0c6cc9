"""What several jobs at once gain, and what a search saves beside a full grid: whole processes, in turn.

python benchmarks/sweeps.py
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from common import QUICK, machine, official, run, spread, write

REPEATS = 1 if QUICK else 3
TRIALS = 4 if QUICK else 18
GRID = {
    "optimizer.lr": [0.0003, 0.003, 0.03],
    "model.head.dropout": [0.0, 0.3, 0.6],
    "data.batch_size": [100, 200, 400],
}
SPACE = {
    "optimizer.lr": {"low": 0.0003, "high": 0.03, "log": True},
    "model.head.dropout": {"low": 0.0, "high": 0.6},
    "data.batch_size": [100, 200, 400],
}
SHORT = ["model=compact", f"trainer.max_epochs={1 if QUICK else 3}", "report=false"]


def best(sweep: Path) -> float:
    """The best validation accuracy of a sweep, in percent."""
    rows: list[Any] = json.loads((sweep / "leaderboard.json").read_text())["rows"]
    return float(100 * rows[0]["val_accuracy"]["mean"])


def main() -> None:
    official()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        in_sequence, at_once = [], []
        words = ["train.py", "experiment=lr_sweep", *(SHORT if QUICK else [])]
        for number in range(REPEATS):
            in_sequence.append(run(*words, f"hydra.sweep.dir={folder}/a{number}").wall_seconds)
            at_once.append(run(*words, "hydra/launcher=joblib", f"hydra.sweep.dir={folder}/b{number}").wall_seconds)
            print(f"experiment=lr_sweep: {in_sequence[-1]:.1f} s in sequence, {at_once[-1]:.1f} s at once", flush=True)

        grid = [f"{key}={','.join(map(str, values[:1] if QUICK else values))}" for key, values in GRID.items()]
        whole = run("train.py", "-m", *SHORT, *grid, f"hydra.sweep.dir={folder}/grid")
        grid_best = best(Path(folder) / "grid")
        print(f"grid: {whole.wall_seconds:.0f} s, {grid_best:.2f} %", flush=True)
        seconds, found = [], []
        for seed in range(REPEATS):
            space = Path(folder) / "space.yaml"
            space.write_text(json.dumps({"space": SPACE, "trials": TRIALS, "seed": seed}))
            output = Path(folder) / f"search{seed}"
            search = run("-m", "digits", "search", *SHORT, "--space", str(space), "--output", str(output))
            seconds.append(search.wall_seconds)
            found.append(best(output))
            print(f"search, seed {seed}: {seconds[-1]:.0f} s, {found[-1]:.2f} %", flush=True)
    print(f"in sequence {spread(in_sequence)}, at once {spread(at_once)}")
    print(f"grid {whole.wall_seconds:.0f} s, {grid_best:.2f} %; search {spread(seconds)}, {spread(found, '%')}")
    write(
        "sweeps",
        {"in_sequence": in_sequence, "at_once": at_once, "grid": [whole.wall_seconds, grid_best],
         "search_seconds": seconds, "search_best": found},
    )  # fmt: skip


if __name__ == "__main__":
    main()
