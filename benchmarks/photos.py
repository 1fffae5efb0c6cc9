"""The share of pictures that are read right: MNIST's test digits, drawn on paper as a person might photograph them.

And how many pictures of 256×256 `digits predict` reads a second. With a network that it trains for that, model=compact.

python benchmarks/photos.py
"""

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import QUICK, machine, official, run, write
from PIL import Image, ImageFilter

from digits.data.download import parse_idx

PICTURES = 100  # of each kind
MANY = 5_000

Pixels = npt.NDArray[np.float32]  # (height, width, 3), 0 to 255
Paper = Callable[[int, int, np.random.Generator], Pixels]  # of a width and a height

SIZES = (256, 256), (320, 240), (480, 640), (1200, 1600)  # width and height


def pasted(
    digit: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    paper: Paper,
    ink: tuple[int, int, int],
    share: tuple[float, float],
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """A digit, (28, 28), drawn on paper: at any place, turned by up to 10°, of a share of the shorter side's height."""
    width, height = size or SIZES[rng.integers(len(SIZES))]
    side = int(rng.uniform(*share) * min(width, height) * 28 / 20)
    drawn = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    drawn = drawn.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    strength = np.clip((np.asarray(drawn, dtype=np.float32) / 255 - 0.5) * 3 + 0.5, 0, 1)  # an edge as a pen has it
    rows, columns = (np.flatnonzero(strength.max(axis)) for axis in (1, 0))
    strength = strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margin = min(width, height) // 7 if paper is on_a_table else min(width, height) // 32
    top = rng.integers(margin, max(height - strength.shape[0] - margin, margin + 1))
    left = rng.integers(margin, max(width - strength.shape[1] - margin, margin + 1))
    cover = np.zeros((height, width, 1), dtype=np.float32)
    cover[top : top + strength.shape[0], left : left + strength.shape[1], 0] = strength[: height - top, : width - left]
    pixels = paper(width, height, rng) * (1 - cover) + np.array(ink, dtype=np.float32) * cover
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def plain(width: int, height: int, rng: np.random.Generator, grey: tuple[int, int] = (200, 256)) -> Pixels:
    """Paper of one colour, not quite white, and the camera's noise."""
    colour = rng.integers(*grey) + rng.uniform(-12, 12, 3)
    return (colour + rng.normal(0, 3, (height, width, 3))).astype(np.float32)


def dark(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A blackboard."""
    return plain(width, height, rng, (20, 70))


def textured(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Paper with grain and stains, coarse and fine."""
    pixels = plain(width, height, rng)
    for cells, deviation in ((4, 8), (16, 6), (64, 5)):
        grain = Image.fromarray(rng.normal(0, deviation, (cells, cells)).astype(np.float32))
        pixels += np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    return pixels


def shaded(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Paper lit from one side, with the shadow of a hand over part of it."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0.1, 0.4) * (1 + x * np.cos(angle) + y * np.sin(angle)) / 2.4
    angle = rng.uniform(0, 2 * np.pi)
    shadow = Image.fromarray((255 * (x * np.cos(angle) + y * np.sin(angle) > rng.uniform(-0.5, 0.5))).astype(np.uint8))
    shadow = shadow.filter(ImageFilter.GaussianBlur(rng.uniform(0.02, 0.1) * width))
    light *= 1 - rng.uniform(0.15, 0.4) * np.asarray(shadow) / 255
    pixels: Pixels = plain(width, height, rng) * light[..., None].astype(np.float32)
    return pixels


def squared(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A squared notebook: thin lines, light blue."""
    pixels = plain(width, height, rng)
    step, thick = int(rng.uniform(0.06, 0.15) * width), max(1, width // 250)
    for offset in range(thick):
        pixels[rng.integers(step) + offset :: step] = (160, 185, 215)
        pixels[:, rng.integers(step) + offset :: step] = (160, 185, 215)
    return pixels


def on_a_table(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A sheet of paper that does not fill the picture, on a table that is darker."""
    pixels = plain(width, height, rng, (40, 130))
    left, top, right, bottom = (int(rng.uniform(0.04, 0.12) * min(width, height)) for _ in range(4))
    pixels[top:-bottom, left:-right] = plain(width - left - right, height - top - bottom, rng)
    return pixels


BLACK, BLUE, RED, PENCIL, CHALK = (25, 25, 30), (35, 50, 150), (190, 40, 45), (105, 105, 110), (225, 225, 220)
USUAL, SMALL = (0.25, 0.85), (0.08, 0.2)  # of the picture's shorter side
KINDS = {
    "black ink on plain paper": (plain, BLACK, USUAL),
    "small": (plain, BLACK, SMALL),
    "blue ink": (plain, BLUE, USUAL),
    "red ink on textured paper": (textured, RED, USUAL),
    "pencil": (plain, PENCIL, USUAL),
    "chalk on a blackboard": (dark, CHALK, USUAL),
    "textured paper": (textured, BLACK, USUAL),
    "shaded paper": (shaded, BLACK, USUAL),
    "blue ink on shaded paper": (shaded, BLUE, USUAL),
    "a squared notebook": (squared, BLUE, USUAL),
    "a sheet of paper on a table": (on_a_table, BLACK, (0.25, 0.65)),
}


def as_jpeg(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """As a camera stores it, in a quality of 50 to 95."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=int(rng.integers(50, 95)))
    return content.getvalue()


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
        run("train.py", "model=compact", f"hydra.run.dir={trained}")
        for number, (kind, (paper, ink, share)) in enumerate(KINDS.items()):
            place = folder / str(number)
            place.mkdir()
            for index in order[number * PICTURES : (number + 1) * PICTURES]:
                picture = pasted(digits[index], rng, paper, ink, share)
                (place / f"{index}-{labels[index]}.jpg").write_bytes(as_jpeg(picture, rng))
            figures[kind] = float(np.mean(_right(trained, place)))
        figures["all"] = float(np.mean(list(figures.values())))

        place = folder / "many"
        place.mkdir()
        for number in range(MANY):
            index = order[number % len(order)]
            picture = pasted(digits[index], rng, textured if number % 2 else shaded, BLUE, USUAL, (256, 256))
            (place / f"{number}-{labels[index]}.jpg").write_bytes(as_jpeg(picture, rng))
        reading = run("-m", "digits", "predict", trained, str(place), "--csv")
        figures["pictures a second, start included"] = MANY / reading.wall_seconds
        figures["peak memory of the first process, MB"] = reading.peak_memory
    print(machine())
    for name, figure in figures.items():
        print(f"{name:<40} {figure:,.0f}" if figure > 1 else f"{name:<40} {100 * figure:.1f} %")
    write("photos", figures)


def _right(trained: str, folder: Path) -> list[bool]:
    output = run("-m", "digits", "predict", trained, str(folder), "--csv").output
    rows = csv.DictReader(io.StringIO(output))
    return [row["digit"] == Path(row["picture"]).stem.split("-")[1] for row in rows]


if __name__ == "__main__":
    main()
