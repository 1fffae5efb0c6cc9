"""How many pictures are read correctly: MNIST's test digits, drawn as people might photograph or draw them.

Also how many sheets without a digit are refused, how many letters and shapes are not trusted, how many rows are read,
how many digits in handwriting that MNIST rarely shows are read, and how many pictures of 256×256 pixels
`digits predict` reads per second. First it trains a network for this, with experiment=compact.

python benchmarks/photos.py
"""

import csv
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import QUICK, machine, official, run, write
from others import letter, row, shape
from pictures import BLUE, HARD_KINDS, PAPERS, USUAL, USUAL_KINDS, blank, jpeg, pasted, shaded, textured
from PIL import Image
from ways import WAYS, way

from digits.data.download import parse_idx

PICTURES = 100  # of each usual kind
HARD_PICTURES = 200  # of each other kind
SHEETS = 25  # of each paper
OTHERS = 200  # letters and shapes
DRAWINGS = 100  # of each way to write a digit
CONFIDENT = 0.9
ROWS = 500
MANY = 5_000


def main() -> None:
    if QUICK:
        print("photos: too long for --quick; left out")
        return
    contents = official().contents
    digits = parse_idx(contents["t10k-images-idx3-ubyte"])
    labels = parse_idx(contents["t10k-labels-idx1-ubyte"])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits))
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trained = str(folder / "run")
        run("train.py", "experiment=compact", f"hydra.run.dir={trained}")
        for kinds, each in ((USUAL_KINDS, PICTURES), (HARD_KINDS, HARD_PICTURES)):
            for number, (kind, draw) in enumerate(kinds.items()):
                subfolder = folder / kind
                subfolder.mkdir()
                for index in order[number * each : (number + 1) * each]:
                    _save(draw(digits[index], rng), subfolder / f"{index}-{labels[index]}")
                figures[kind] = float(np.mean(_right(_answers(trained, subfolder))))
            figures[f"all {len(kinds)} kinds"] = float(np.mean([figures[kind] for kind in kinds]))

        subfolder = folder / "blank"
        subfolder.mkdir()
        for paper in PAPERS:
            for number in range(SHEETS):
                _save(blank(paper, rng), subfolder / f"{paper.__name__}-{number}")
        answers = _answers(trained, subfolder)
        for status in ("no digit", "read"):
            figures[f"sheets without a digit: {status}"] = float(
                np.mean([answer["status"] == status for answer in answers])
            )

        subfolder = folder / "others"
        subfolder.mkdir()
        for number in range(OTHERS):
            _save((shape if number % 4 == 0 else letter)(rng), subfolder / str(number))
        answers = _answers(trained, subfolder)
        figures["letters and shapes, not trusted"] = float(np.mean([answer["status"] != "read" for answer in answers]))
        figures["letters and shapes, over 90 %"] = float(_are_confident(answers).mean())
        evaluation = json.loads((folder / "run/evaluation.json").read_text())
        figures["correct test digits, not trusted"] = evaluation["untrusted_correct"]
        figures["wrong test digits, not trusted"] = evaluation["untrusted_wrong"]

        subfolder = folder / "rows"
        subfolder.mkdir()
        for number in range(ROWS):
            text, picture = row(digits, labels, rng)
            _save(picture, subfolder / f"{number}-{text}")
        figures["rows read completely right"] = float(np.mean(_right(_answers(trained, subfolder, "--row"), "text")))

        subfolder = folder / "ways"
        subfolder.mkdir()
        ways_rng = np.random.default_rng(1)
        for name in WAYS:
            for number in range(DRAWINGS):
                _save(way(name, ways_rng), subfolder / f"{name}-{name[0]}-{number}")
        answers = _answers(trained, subfolder)
        right = np.array(_right(answers))
        for name in WAYS:
            chosen = [Path(answer["picture"]).stem.startswith(f"{name}-") for answer in answers]
            figures[name] = float(right[chosen].mean())
        figures[f"all {len(WAYS)} ways"] = float(right.mean())
        figures["the ways, wrong with over 90 %"] = float((_are_confident(answers) & ~right).mean())

        subfolder = folder / "many"
        subfolder.mkdir()
        for number in range(MANY):
            index = order[number % len(order)]
            picture = pasted(digits[index], rng, textured if number % 2 else shaded, BLUE, USUAL, (256, 256))
            _save(jpeg(picture, rng), subfolder / f"{number}-{labels[index]}")
        reading = run("-m", "digits", "predict", trained, str(subfolder), "--csv")
        figures["pictures a second, start included"] = MANY / reading.wall_seconds
        figures["peak memory of the first process, MiB"] = reading.peak_memory
    print(machine())
    for name, figure in figures.items():
        print(f"{name:<40} {figure:,.0f}" if figure > 1 else f"{name:<40} {100 * figure:.1f} %")
    write("photos", figures)


def _save(picture: Image.Image, name: Path) -> None:
    if picture.format == "JPEG":
        picture.save(name.with_suffix(".jpg"), quality="keep")
    else:
        picture.save(name.with_suffix(".png"))


def _are_confident(answers: list[dict[str, str]]) -> npt.NDArray[np.bool_]:
    return np.array([float(answer["probability"] or 0) > CONFIDENT for answer in answers])


def _right(answers: list[dict[str, str]], column: str = "digit") -> list[bool]:
    return [answer[column] == Path(answer["picture"]).stem.split("-")[1] for answer in answers]


def _answers(trained: str, folder: Path, *options: str) -> list[dict[str, str]]:
    output = run("-m", "digits", "predict", trained, str(folder), "--csv", *options).output
    return list(csv.DictReader(io.StringIO(output)))


if __name__ == "__main__":
    main()
