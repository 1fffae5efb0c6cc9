"""A picture in any format and on any paper becomes an image of a digit as in MNIST, or is refused."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from digits.data import sample
from digits.preparation import opening, photo

from ..helpers import bomb, encoded, paper

DIGITS, LABELS = sample.load()
SEVEN = DIGITS[np.flatnonzero(LABELS == 7)[3]]
WIDTH, HEIGHT = 240, 200


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of the pixels, of 255, after the best shift by up to one pixel: rounding may shift a digit."""
    assert one.shape == other.shape == (28, 28)
    assert one.dtype == other.dtype == np.uint8
    shifted = (np.roll(one.astype(float), shift, (0, 1)) for shift in itertools.product((-1, 0, 1), repeat=2))
    return min(float(np.abs(image - other).mean()) for image in shifted)


def test_digits_of_mnist_stay_as_they_are() -> None:
    differences = [difference(photo.digit(Image.fromarray(digit)), digit) for digit in DIGITS[::100]]
    assert np.median(differences) < 3
    assert max(differences) < 12


def test_the_longer_side_is_20_and_the_centre_of_mass_in_the_middle() -> None:
    seen = photo.digit(paper())
    rows, columns = (np.flatnonzero(seen.max(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    y, x = np.mgrid[:28, :28]
    assert (seen * y).sum() / seen.sum() == pytest.approx(14, abs=0.55)
    assert (seen * x).sum() / seen.sum() == pytest.approx(14, abs=0.55)
    assert seen.max() > 240
    assert seen[0].max() == 0


@pytest.mark.parametrize("side", [40, 70, 180])
@pytest.mark.parametrize("at", [(4, 4), (56, 14)])
def test_size_and_place_do_not_matter(side: int, at: tuple[int, int]) -> None:
    assert difference(photo.digit(paper(side=side, at=at)), photo.digit(paper())) < 12


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((230, 230, 220), (30, 50, 40)),  # chalk on a blackboard
        ((30, 60, 170), (250, 250, 250)),
        ((240, 220, 40), (255, 255, 250)),  # yellow, as bright as its paper
        ((200, 60, 40), (90, 130, 90)),  # red on a green of the same brightness
        ((120, 120, 120), (170, 170, 170)),
    ],
)
def test_ink_and_paper_of_any_colour(ink: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    assert difference(photo.digit(paper(ink=ink, colour=colour)), photo.digit(paper())) < 8


def test_a_shadow_over_half_the_paper_is_ignored() -> None:
    pixels = np.array(paper()).astype(float)
    pixels[:, 130:] *= 0.6
    pixels *= np.linspace(1, 0.7, HEIGHT)[:, None, None]
    assert difference(photo.digit(Image.fromarray(pixels.astype("u1"))), photo.digit(paper())) < 12


def test_a_small_digit_in_a_large_picture_is_found() -> None:
    small = Image.new("RGB", (2400, 2000), (240, 238, 225))
    small.paste(paper(noise=0), (1500, 900))
    assert difference(photo.digit(small), photo.digit(paper(noise=0))) < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pictures_of_every_format_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"seven.{kind.lower()}"
    path.write_bytes(encoded(paper(), kind))
    assert difference(photo.digit(opening.read(path)), photo.digit(paper())) < 3
    assert difference(photo.digit(opening.read(path.read_bytes())), photo.digit(paper())) < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_pictures_of_every_mode_are_read(mode: str) -> None:
    grey = np.array(paper().convert("L"))
    if mode == "I;16":
        picture = Image.fromarray(grey.astype("u2") * 257)
    elif mode in ("I", "F"):
        picture = Image.fromarray(grey.astype("i4" if mode == "I" else "f4"))
    else:
        picture = paper().convert(mode)
    kind = "TIFF" if mode in ("CMYK", "I", "F") else "PNG"
    assert difference(photo.digit(opening.read(encoded(picture, kind))), photo.digit(paper())) < 12


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_transparency(mode: str) -> None:
    """Pillow saves it in no format, but a TIFF may contain it."""
    picture = paper().convert(mode.upper()).convert(mode)
    assert difference(photo.digit(picture), photo.digit(paper())) < 3


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_transparent_paper(ink: int) -> None:
    cover = Image.fromarray(SEVEN).resize((150, 150))
    picture = Image.merge("LA", (Image.new("L", cover.size, ink), cover))
    assert difference(photo.digit(opening.read(encoded(picture, "PNG"))), photo.digit(paper())) < 8


def test_a_picture_that_was_taken_sideways_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = encoded(paper().rotate(90, expand=True), "JPEG", exif=exif, quality=95)
    assert difference(photo.digit(opening.read(turned)), photo.digit(paper())) < 4
    assert opening.read(turned).size == (WIDTH, HEIGHT)


def test_thin_strokes_are_widened_to_those_of_mnist() -> None:
    lines = np.zeros((200, 200), np.uint8)
    lines[40:43, 60:140] = lines[40:160, 137:140] = 255
    seen = photo.digit(ImageOps.invert(Image.fromarray(lines)))
    assert (seen[:, 4:8] > 128).sum(0).max() >= 2  # height of the bar in pixels


BLANK = {
    "one colour": np.full((200, 200), 230),
    "noise": np.random.default_rng(0).normal(200, 12, (200, 200)),
    "light from one side": np.tile(np.linspace(120, 240, 200), (200, 1)),
    "black": np.zeros((28, 28)),
}


@pytest.mark.parametrize("name", BLANK)
def test_a_blank_picture_is_refused(name: str) -> None:
    with pytest.raises(photo.NoDigitError, match="blank") as caught:
        photo.digit(Image.fromarray(BLANK[name].astype("u1")))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # so that another process can raise it


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (3, 3)])
def test_pictures_with_no_room_for_a_digit_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(photo.NoDigitError):
        photo.digit(Image.new("L", size, 255))


@pytest.mark.parametrize("size", [(320, 2), (320, 8), (320, 12), (320, 16), (320, 30)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_long_picture_of_two_shades_is_refused(size: tuple[int, int], turned: bool) -> None:
    picture = Image.new("L", size, 255)
    picture.paste(0, (0, 0, size[0] // 2, size[1]))
    with pytest.raises(photo.NoDigitError):
        photo.digit(picture.transpose(Image.Transpose.TRANSPOSE) if turned else picture)


def test_a_minus_is_not_a_printed_line() -> None:
    drawing = Image.new("L", (140, 140), 240)
    ImageDraw.Draw(drawing).line((20, 70, 120, 70), fill=20, width=6)
    assert 30 < (photo.digit(drawing) > 128).sum() < 60


def test_a_zero_with_a_slash_is_not_a_printed_box() -> None:
    drawing = Image.new("L", (200, 200), 250)
    pen = ImageDraw.Draw(drawing)
    pen.ellipse((60, 40, 140, 160), outline=20, width=5)
    pen.line((88, 120, 112, 80), fill=20, width=5)
    seen = photo.digit(drawing)
    columns = np.flatnonzero(seen.max(0) > 128)
    assert np.ptp(columns) > 10  # the whole ellipse


def test_several_digits_are_refused() -> None:
    both = paper(side=90, at=(10, 40))
    both.paste(paper(DIGITS[0], side=90, at=(0, 40)).crop((0, 0, 110, HEIGHT)), (120, 0))
    with pytest.raises(photo.NoDigitError, match="several digits"):
        photo.digit(both)


def test_specks_and_a_dark_edge_are_left_out() -> None:
    pixels = np.array(paper(at=(60, 40)))
    pixels[:, -12:] = 40  # the table under the paper
    pixels[180:183, 20:23] = 30
    assert difference(photo.digit(Image.fromarray(pixels)), photo.digit(paper(at=(60, 40)))) < 6


@pytest.mark.parametrize("colour", [40, 140, 255])
@pytest.mark.parametrize("edges", [(40, 50, 40, 50), (90, 20, 0, 0), (30, 30, 30, 30)])  # left, top, right, bottom
def test_a_table_around_the_sheet_is_ignored(colour: int, edges: tuple[int, int, int, int]) -> None:
    sheet = paper(colour=(205, 205, 200), at=(60, 40))
    picture = ImageOps.expand(sheet, edges, (colour, colour, colour))
    assert difference(photo.digit(picture), photo.digit(sheet)) < 8
    blank = ImageOps.expand(Image.new("RGB", sheet.size, (205, 205, 200)), edges, (colour, colour, colour))
    with pytest.raises(photo.NoDigitError):
        photo.digit(blank)


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (1 / 255, 0), (1.01 / 255, 0), (1, -300), (200, 0)])
def test_pictures_of_floats_in_any_range(factor: float, offset: float) -> None:
    grey = paper().convert("L")
    values = np.asarray(grey, dtype=np.float32) * factor + offset
    assert difference(photo.digit(Image.fromarray(values)), photo.digit(grey)) < 6
    values[0, :3] = np.inf, -np.inf, np.nan
    assert difference(photo.digit(Image.fromarray(values)), photo.digit(grey)) < 6


def test_large_pictures_are_reduced_first() -> None:
    large = paper().convert("RGBA").resize((4800, 4000))
    assert opening.upright(large).size == (2400, 2000)
    assert difference(photo.digit(large), photo.digit(paper())) < 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture"),
        (b"seven", "not a picture"),
        (bomb(), "too large: more than 100 million pixels"),
        (encoded(paper(), "PNG")[:2000], "cannot be read"),
        (encoded(paper(), "JPEG")[:900], "cannot be read"),
        (encoded(paper(), "PPM"), "not a picture"),
        (encoded(paper(), "PNG")[:60] + b"\0" * 400, "cannot be read"),
    ],
)
def test_damaged_unknown_and_too_large_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "seven.png"
    path.write_bytes(content)
    with pytest.raises(opening.PictureError, match=message):
        opening.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(opening.PictureError, match="no such file"):
        opening.read(tmp_path / "seven.png")
    with pytest.raises(opening.PictureError, match="Is a directory"):
        opening.read(tmp_path)


def test_a_whole_picture_is_resized_on_black() -> None:
    digit = Image.fromarray(SEVEN)
    assert (photo.resized(digit) == SEVEN).all()  # 28×28 on black stays as it is
    assert (photo.resized(Image.fromarray(255 - SEVEN)) == SEVEN).all()  # on white, it is inverted
    wide = np.full((50, 200, 3), 240, np.uint8)
    wide[20:30, 50:150] = 10
    found = photo.resized(Image.fromarray(wide))
    assert found.shape == (28, 28)
    rows, columns = np.nonzero(found > 128)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (1, 14)  # it keeps its proportions
    assert abs(rows.mean() - 13.5) <= 0.5
    assert found[0, 0] == 15


def test_a_very_long_picture_is_resized() -> None:
    assert photo.resized(Image.new("P", (60_000, 10))).shape == (28, 28)  # a square of that width would take 3.6 GB


def ruled(strokes: list[list[tuple[int, int]]]) -> Image.Image:
    """Paper with blue lines, and strokes of a pen; drawn four times as large, so that edges are smooth."""
    page = Image.new("RGB", (2400, 3160), (230, 200, 190))
    pen = ImageDraw.Draw(page)
    for y in range(120, 3160, 288):
        pen.line([(0, y), (2400, y + 72)], (95, 130, 175), 20)
    for stroke in strokes:
        pen.line([(4 * x, 4 * y) for x, y in stroke], (100, 85, 85), 30)
    return page.reduce(4)


def test_strokes_along_a_ruled_line_stay() -> None:
    """A seven whose bars lie on printed lines keeps them, and is not taken for a line itself."""
    found = photo.find(ruled([[(230, 246), (390, 258)], [(390, 258), (330, 560)], [(270, 410), (410, 408)]]))
    assert found.steps == ("without the printed lines",)
    seen = photo.image_of(found.ink)
    rows, columns = np.nonzero(seen > 128)
    assert columns[rows <= rows.min() + 2].min() < columns[rows >= rows.max() - 2].min()  # its upper bar
    assert np.ptp(columns) > 0.4 * np.ptp(rows)
    with pytest.raises(photo.NoDigitError, match="blank"):
        photo.digit(ruled([]))


def test_a_dark_grid_line_of_squared_paper_is_not_a_one() -> None:
    """A line that is darker than the others, and almost as long as the picture."""
    page = Image.new("L", (300, 300), 245)
    pen = ImageDraw.Draw(page)
    for at in range(15, 300, 30):
        pen.line([(0, at), (300, at)], 190, 2)
        pen.line([(at, 0), (at, 300)], 190, 2)
    pen.line([(75, 8), (75, 285)], 60, 2)
    with pytest.raises(photo.NoDigitError, match="blank"):
        photo.digit(page)


def test_a_narrow_digit_keeps_its_loop() -> None:
    picture = Image.new("L", (118, 260), 205)
    pen = ImageDraw.Draw(picture)
    pen.ellipse([36, 18, 70, 66], outline=45, width=5)
    pen.line([(68, 40), (66, 240)], 45, 6)
    seen = photo.digit(picture)
    rows, columns = np.nonzero(seen > 128)
    middle = seen[rows.min() : rows.min() + 8, columns.min() : columns.max() + 1]
    assert middle[2:5].min() < 64  # the loop is open
    assert np.ptp(columns) + 1 >= 9  # half as wide as tall


def test_light_beside_a_shadow_is_not_a_digit() -> None:
    """A bright strip with a sharp and a soft side, across the whole picture."""
    x = np.arange(320)[None, :] - np.arange(240)[:, None] / 4
    light = np.clip((x - 100) / 6, 0, 1) * np.clip(1 - (x - 112) / 130, 0.35, 1)
    with pytest.raises(photo.NoDigitError):
        photo.digit(Image.fromarray((110 + 80 * light).astype(np.uint8)))
