"""The drawings show what the network computes, and the importance of the pixels adds up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from digits.cli import explain as command
from digits.data import sample
from digits.errors import UserError
from digits.explanation import drawing
from digits.explanation import explain as explanation
from digits.model.network import Network
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.training.train import train
from digits.validation import resolve

from ..helpers import Compose, composed, draw

IMAGES, LABELS = sample.load()
SEVEN = IMAGES[int(np.flatnonzero(LABELS == 7)[0])]


@pytest.fixture(scope="module")
def network(sample_run: Path) -> Network:
    return Checkpoint(sample_run / "checkpoints/best.ckpt").network()


def test_the_output_of_every_layer_is_that_of_the_network(network: Network) -> None:
    blocks, vectors = explanation.follow(network, SEVEN)
    names = [[name for name, _ in stages] for stages in blocks]
    assert names == [
        ["convolution", "normalisation", "activation", "pooling"],
        ["convolution", "activation", "pooling"],
    ]
    assert [maps.shape for stages in blocks for _, maps in stages] == [
        *[(8, 28, 28)] * 3,
        (8, 14, 14),
        *[(8, 12, 12)] * 2,
        (8, 6, 6),
    ]
    assert [(name, len(values)) for name, values in vectors] == [("flatten", 288), ("dropout", 288), ("classes", 10)]
    with torch.no_grad():
        logits = network(torch.from_numpy(SEVEN[None].copy()))[0]
    np.testing.assert_allclose(vectors[-1][1], logits, rtol=1e-4, atol=1e-5)
    before, after = dict(blocks[1])["convolution"], dict(blocks[1])["activation"]
    np.testing.assert_array_equal(after, before.clip(0))


def test_the_importance_of_all_pixels_adds_up_to_the_change_of_the_logit(network: Network) -> None:
    """The completeness of integrated gradients: their sum is the logit of a class minus its logit for a blank image."""
    digit = 7
    importance = explanation.importance(network, SEVEN, digit)
    assert importance.shape == (28, 28)
    with torch.no_grad():
        given, blank = network(torch.from_numpy(np.stack([SEVEN, np.zeros_like(SEVEN)])))[:, digit]
    assert importance.sum() == pytest.approx(float(given - blank), rel=0.1)
    assert not importance[SEVEN == 0].any()  # these pixels are black in both images


def test_explain_prints_the_table_of_layers(sample_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.explain([str(sample_run)], None, None, augment=False)
    assert "  ⌊(28 + 2·2 − 1·(5 − 1) − 1) / 1⌋ + 1 = 28" in capsys.readouterr().out.splitlines()
    command.explain(["model=article"], None, None, augment=False)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "3,199,106", "13,808,400"]
    with pytest.raises(UserError, match="Did you mean"):
        command.explain(["model=artcle"], None, None, augment=False)


@pytest.mark.parametrize("source", ["digit", "image"])
@pytest.mark.slow
def test_every_drawing_is_written(source: str, sample_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes((sample_run / "checkpoints/best.ckpt").read_bytes())
    trained = find(tmp_path / "mine.ckpt")
    image = Path(draw(tmp_path / "seven.png", 3600)) if source == "image" else None
    paths = list(explanation.explain(trained, explanation.pixels_of(trained, image, 3)))
    names = ["input", "sizes", "block1", "block2", "filters1", "filters2", "pixels"]
    assert paths == [tmp_path / "explanation" / f"{name}.png" for name in names]
    assert sorted(path.name for path in (tmp_path / "explanation").iterdir()) == sorted(f"{name}.png" for name in names)
    for path in paths:
        with Image.open(path) as drawn:
            drawn.load()
            assert drawn.width >= 500
            assert np.asarray(drawn.convert("L")).std() > 5  # it is not blank


def test_the_drawings_of_a_network_without_convolution() -> None:
    model = resolve(composed("model=mlp")).model
    model.head.hidden = [20]
    names = [name for name, _ in explanation.figures(Network(model.blocks, model.head).eval(), SEVEN)]
    assert names == ["input", "sizes", "filters", "pixels"]


@pytest.mark.parametrize("model", ["article", "compact", "strided", "unpadded"])
def test_the_title_of_the_drawing_shows_the_path_of_sizes(model: str) -> None:
    description = resolve(composed(f"model={model}")).model
    network = Network(description.blocks, description.head).eval()
    sizes = next(figure for name, figure in explanation.figures(network, SEVEN) if name == "sizes")
    path = {
        "article": "28 → 14 → 7 → 3136 → 1000 → 10",
        "compact": "28 → 14 → 7 → 3 → 576 → 10",
        "strided": "28 → 12 → 10 → 5 → 3 → 864 → 10",
        "unpadded": "28 → 11 → 7 → 3 → 576 → 10",
    }
    assert sizes.axes[0].get_title(loc="left") == f"The path of sizes: {path[model]}"


def test_a_picture_without_a_digit_is_refused(sample_run: Path, tmp_path: Path) -> None:
    Image.new("L", (90, 90), 240).save(tmp_path / "blank.png")
    with pytest.raises(UserError, match=r"blank\.png: blank"):
        explanation.pixels_of(find(sample_run), tmp_path / "blank.png", None)


def test_maps_lie_in_rows_of_sixteen_with_gaps() -> None:
    maps = np.arange(17 * 4, dtype=np.float32).reshape(17, 2, 2)
    mosaic = drawing._mosaic(maps)
    assert mosaic.shape == (2 * 3 - 1, 16 * 3 - 1)
    np.testing.assert_array_equal(mosaic[:2, :2], maps[0])
    np.testing.assert_array_equal(mosaic[3:5, :2], maps[16])
    assert np.isnan(mosaic[2]).all()
    assert np.isnan(mosaic[:, 2]).all()


def test_the_augmentation_of_a_run_is_found_and_drawn(tiny: Compose, tmp_path: Path) -> None:
    configured = resolve(composed("data/augment=affine")).data.augment
    train(tiny("data/augment=affine"), tmp_path / "run")
    trained = find(tmp_path / "run")
    assert explanation.augmentation_of(trained) == configured
    drawn = explanation.draw_augmentation(configured, trained.home)
    assert drawn == tmp_path / "run/explanation/augmentation.png"
    with Image.open(drawn) as image:
        pixels = np.asarray(image.convert("L"))
    rows = pixels[60:].reshape(-1, pixels.shape[1])
    assert rows[:, : pixels.shape[1] // 13].std() > 5  # before
    assert rows[:, -pixels.shape[1] // 2 :].std() > 5  # after


def test_a_run_without_augmentation_has_none_to_draw(sample_run: Path, tmp_path: Path) -> None:
    assert explanation.augmentation_of(find(sample_run)) is None
    with pytest.raises(UserError, match=r"data\.augment is null"):
        explanation.draw_augmentation(None, tmp_path)
    assert not list(tmp_path.iterdir())
