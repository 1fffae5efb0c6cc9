"""A row is cut into its digits and separators, with a box for each in pixels of the picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from digits.data import sample
from digits.preparation import characters, photo
from digits.preparation.characters import Character

IMAGES, LABELS = sample.load()
HEIGHT, LEFT, TOP = 60, 40, 50


def digit(number: int, height: int = HEIGHT) -> Image.Image:
    """A digit of the sample, cut out and enlarged, dark on white."""
    picture = Image.fromarray(IMAGES[int(np.flatnonzero(number == LABELS)[number])])
    picture = picture.crop(picture.getbbox())
    return Image.fromarray(
        255 - np.asarray(picture.resize((round(picture.width * height / picture.height), height)))
    ).convert("L")


def written(text: str, gap: int = 16, size: tuple[int, int] = (900, 170)) -> tuple[Image.Image, list[tuple[int, int]]]:
    """A picture of a row, and the left and right edge of each character."""
    picture = Image.new("L", size, 235)
    draw = ImageDraw.Draw(picture)
    x, edges = LEFT, []
    for character in text:
        if character == "-":
            width = 26
            draw.line((x, TOP + 32, x + width, TOP + 30), 20, 7)
        elif character == ".":
            width = 10
            draw.ellipse((x, TOP + 50, x + width, TOP + 60), 20)
        elif character == "/":
            width = 30
            draw.line((x, TOP + 75, x + width, TOP - 15), 20, 6)
        else:
            stroke = digit(int(character))
            width = stroke.width
            picture.paste(stroke, (x, TOP), Image.eval(stroke, lambda grey: 255 - grey))
        edges.append((x, x + width))
        x += width + gap
    return picture, edges


def cut(picture: Image.Image) -> list[Character]:
    return characters.characters(picture)


def separators(found: list[Character]) -> str:
    return "".join(character.separator or "d" for character in found)


@pytest.mark.parametrize("text", ["30", "2718281828", "12/05-20.6", "4-4", "0.5", "1/7"])
def test_digits_and_separators_with_their_boxes(text: str) -> None:
    picture, edges = written(text)
    found = cut(picture)
    assert separators(found) == "".join("d" if character.isdigit() else character for character in text)
    for character, (left, right) in zip(found, edges, strict=True):
        assert character.box[0] == pytest.approx(left, abs=6)
        assert character.box[2] == pytest.approx(right, abs=6)
        if not character.separator:
            assert (character.box[1], character.box[3]) == pytest.approx((TOP, TOP + HEIGHT), abs=9)
            assert character.image is not None
            assert character.image.shape == (28, 28)
            assert not character.is_at_edge


@pytest.mark.parametrize("change", ["bright on dark", "strong beside faint", "shadow", "ruled", "slanted"])
def test_rows_on_any_paper_with_any_pen(change: str) -> None:
    picture, edges = written("407335")
    pixels = np.asarray(picture).astype(np.float32)
    if change == "bright on dark":
        pixels = 255 - pixels
    elif change == "strong beside faint":
        half = edges[3][0] - 8
        pixels[:, half:] = 235 - 0.35 * (235 - pixels[:, half:])
    elif change == "shadow":
        pixels *= np.linspace(1, 0.4, pixels.shape[1])
    elif change == "ruled":
        pixels[12::40] -= 60
        pixels[13::40] -= 60
    else:
        picture = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0.3, -25, 0, 1, 0), fillcolor=235)
        pixels = np.asarray(picture).astype(np.float32)
    assert separators(cut(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))) == "d" * 6


def test_the_digits_of_a_slanted_row_are_straightened() -> None:
    """They are sheared so that their mean slope is that of MNIST's digits."""
    picture, _ = written("4073354073")
    slanted = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0.4, -32, 0, 1, 0), fillcolor=235)
    straight, upright = ([each.image for each in cut(row)] for row in (picture, slanted))
    differences = [np.abs(one.astype(int) - other).mean() for one, other in zip(straight, upright, strict=True)]
    assert np.mean(differences) < 20  # of 255; 29 without the shear


def test_pieces_of_one_digit_are_one_character() -> None:
    picture, edges = written("507")
    ImageDraw.Draw(picture).line((0, TOP + 22, 900, TOP + 22), 235, 3)  # a gap through all digits
    assert [each.box[0] for each in cut(picture)] == pytest.approx([left for left, _ in edges], abs=6)


def test_digits_that_touch_have_halves() -> None:
    picture, edges = written("00", gap=4)
    ImageDraw.Draw(picture).line((edges[0][1] - 6, TOP + 30, edges[1][0] + 6, TOP + 30), 20, 6)
    (both,) = cut(picture)
    assert len(both.halves) == 2
    left, right = both.halves
    assert left.box[2] == pytest.approx(right.box[0], abs=2)
    assert both.box[0] == left.box[0]
    assert both.box[2] == right.box[2]
    assert not any(each.halves for each in cut(written("00")[0]))


def test_a_digit_at_the_edge_may_be_cut_off() -> None:
    picture, edges = written("3003")
    whole = picture.crop((0, 0, edges[-1][1] - 8, picture.height))
    assert [each.is_at_edge for each in cut(whole)] == [False, False, False, True]
    tight = picture.crop((LEFT - 10, TOP, edges[-1][1] + 10, TOP + HEIGHT))  # touches the upper and lower edge
    assert [each.is_at_edge for each in cut(tight)] == [False] * 4


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda picture: None, "blank: nothing stands out"),
        (lambda picture: picture.line((100, 80, 130, 80), 20, 6), "blank: nothing stands out"),
    ],
)
def test_rows_without_a_digit_are_refused(draw: object, message: str) -> None:
    picture = Image.new("L", (400, 160), 235)
    draw(ImageDraw.Draw(picture))  # type: ignore[operator]
    with pytest.raises(photo.NoDigitError, match=message):
        cut(picture)


def test_several_rows_and_pictures_of_few_pixels_are_refused() -> None:
    picture, _ = written("123", size=(400, 340))
    other, _ = written("456", size=(400, 170))
    picture.paste(other, (0, 150))
    with pytest.raises(photo.NoDigitError, match="several rows"):
        cut(picture)
    with pytest.raises(photo.NoDigitError, match="too few pixels"):
        cut(Image.new("L", (3, 300)))


def test_boxes_are_in_pixels_of_the_file_as_a_viewer_shows_it(tmp_path: Path) -> None:
    picture, edges = written("27182", size=(900, 170))
    large = picture.resize((5400, 1020), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    large.rotate(90, expand=True).save(tmp_path / "row.jpg", exif=exif, quality=90)
    found = characters.prepare(tmp_path / "row.jpg")
    assert len(found) == 5
    for character, (left, right) in zip(found, edges, strict=True):
        assert (character.box[0] / 6, character.box[2] / 6) == pytest.approx((left, right), abs=6)
    file = io.BytesIO()
    picture.save(file, "PNG")
    assert [each.box[0] for each in characters.prepare(file.getvalue())] == pytest.approx(
        [left for left, _ in edges], abs=6
    )


@pytest.mark.parametrize(
    "size", [(4, 4), (400, 5), (5, 400), (61, 40), pytest.param((1_000, 700), marks=pytest.mark.slow)]
)
def test_noise_is_refused_or_cut_into_at_most_100_characters(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    for kind in range(4):
        pixels = generator.integers(0, 256, size[::-1], dtype=np.uint8)
        if kind % 2:
            pixels = np.where(pixels > 250, 0, 255).astype(np.uint8)  # specks
        picture = Image.fromarray(pixels)
        if kind > 1:
            picture = picture.filter(ImageFilter.GaussianBlur(2))
        try:
            found = cut(picture)
        except photo.NoDigitError:
            continue
        assert len(found) <= 100


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (30, 1), (30, 2)])
def test_a_speck_on_clean_paper_is_not_a_row(size: tuple[int, int]) -> None:
    picture = Image.new("L", (400, 160), 235)
    picture.paste(20, (200, 80, 200 + size[0], 80 + size[1]))
    with pytest.raises(photo.NoDigitError, match="blank"):
        cut(picture)


def test_a_hyphen_in_a_tight_crop_is_a_separator() -> None:
    picture, edges = written("12-05")
    tight = picture.crop((LEFT - 10, TOP + 4, edges[-1][1] + 10, TOP + HEIGHT - 4))
    assert separators(cut(tight)) == "dd-dd"


def test_boxes_are_in_pixels_of_a_large_picture_in_memory() -> None:
    picture, edges = written("27182")
    large = picture.resize((6300, 1190), Image.Resampling.BICUBIC)
    for character, (left, right) in zip(cut(large), edges, strict=True):
        assert (character.box[0] / 7, character.box[2] / 7) == pytest.approx((left, right), abs=6)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG"])
def test_boxes_fit_a_picture_that_its_exif_tag_turns(kind: str) -> None:
    picture, edges = written("27182")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    picture.rotate(90, expand=True).save(file, kind, exif=exif)
    found = characters.prepare(file.getvalue())
    assert [each.box[0] for each in found] == pytest.approx([left for left, _ in edges], abs=6)
