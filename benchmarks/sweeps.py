"""The time that parallel jobs save, and that a search saves compared with a full grid: whole processes, in turn.

python benchmarks/sweeps.py [launchers] [searches]
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import QUICK, machine, official, run, spread, write

ASKED = [word for word in sys.argv[1:] if not word.startswith("-")] or ["launchers", "searches"]
REPEATS = 1 if QUICK else 3
TRIALS = 4 if QUICK else 18
GRID: dict[str, list[Any]] = {
    "optimizer.lr": [0.0003, 0.003, 0.03],
    "model.head.dropout": [0.0, 0.3, 0.6],
    "data.batch_size": [100, 200, 400],
}
SPACE: dict[str, Any] = {
    "optimizer.lr": {"low": 0.0003, "high": 0.03, "log": True},
    "model.head.dropout": {"low": 0.0, "high": 0.6},
    "data.batch_size": [100, 200, 400],
}
SHORT = ["model=compact", f"trainer.max_epochs={1 if QUICK else 3}", "report=false"]


SEEDS = "seed=1" if QUICK else "seed=1,2,3,4"


def best(sweep: Path) -> dict[str, Any]:
    """The best row of a sweep's leaderboard."""
    rows: list[dict[str, Any]] = json.loads((sweep / "leaderboard.json").read_text())["rows"]
    return rows[0]


def with_other_seeds(row: dict[str, Any], folder: Path) -> float:
    """The mean validation accuracy, in percent, of a winning configuration, trained again with other seeds."""
    run("train.py", "-m", *SHORT, *(f"{key}={value}" for key, value in row["settings"].items()), SEEDS,
        f"hydra.sweep.dir={folder}")  # fmt: skip
    return 100 * float(best(folder)["val_accuracy"]["mean"])


def launchers(folder: Path) -> dict[str, Any]:
    """Seconds of sweeps whose jobs run one after the other, and of sweeps with parallel jobs; the two take turns."""
    in_sequence, at_once = [], []
    words = ["train.py", "experiment=lr_sweep", *(SHORT if QUICK else [])]
    for number in range(REPEATS):
        in_sequence.append(run(*words, f"hydra.sweep.dir={folder}/a{number}").wall_seconds)
        at_once.append(run(*words, "hydra/launcher=joblib", f"hydra.sweep.dir={folder}/b{number}").wall_seconds)
        print(f"experiment=lr_sweep: {in_sequence[-1]:.1f} s in sequence, {at_once[-1]:.1f} s at once", flush=True)
    print(f"in sequence {spread(in_sequence)}, at once {spread(at_once)}")
    return {"in_sequence": in_sequence, "at_once": at_once}


def searches(folder: Path) -> dict[str, Any]:
    """Seconds of a grid and of searches over its ranges, and the accuracy of the best configurations."""
    grid = [f"{key}={','.join(map(str, values[:1] if QUICK else values))}" for key, values in GRID.items()]
    whole = run("train.py", "-m", *SHORT, *grid, f"hydra.sweep.dir={folder}/grid")
    won = best(folder / "grid")
    grid_best, grid_other_seeds = 100 * won["val_accuracy"]["mean"], with_other_seeds(won, folder / "grid_other_seeds")
    result = f"{grid_best:.2f} % with {won['settings']}; other seeds {grid_other_seeds:.2f} %"
    print(f"grid: {whole.wall_seconds:.0f} s, {result}", flush=True)
    seconds, found, found_other_seeds = [], [], []
    for seed in range(REPEATS):
        space, output = folder / "space.yaml", folder / f"search{seed}"
        space.write_text(json.dumps({"space": SPACE, "trials": TRIALS, "seed": seed}))
        search = run("-m", "digits", "search", *SHORT, "--space", str(space), "--output", str(output))
        won = best(output)
        seconds.append(search.wall_seconds)
        found.append(100 * won["val_accuracy"]["mean"])
        found_other_seeds.append(with_other_seeds(won, folder / f"search{seed}_other_seeds"))
        result = f"{found[-1]:.2f} % with {won['settings']}; other seeds {found_other_seeds[-1]:.2f} %"
        print(f"search, seed {seed}: {seconds[-1]:.0f} s, {result}", flush=True)
    print(f"search {spread(seconds)}, {spread(found, '%')}; other seeds {spread(found_other_seeds, '%')}")
    return {
        "grid": [whole.wall_seconds, grid_best], "grid_other_seeds": grid_other_seeds,
        "search_seconds": seconds, "search_best": found, "search_other_seeds": found_other_seeds,
    }  # fmt: skip


def main() -> None:
    official()
    print(machine())
    for part in (launchers, searches):
        if part.__name__ in ASKED:
            with tempfile.TemporaryDirectory() as name:
                write(f"sweeps_{part.__name__}", part(Path(name)))


if __name__ == "__main__":
    main()
