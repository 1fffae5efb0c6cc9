"""The page on which a network reads what its user draws: it computes what torch computes, and is usable."""

import base64
import hashlib
import io
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from digits.cli import app
from digits.errors import UserError
from digits.explanation import draw
from digits.explanation.draw import steps
from digits.model.network import Network, build_network
from digits.preparation import photo
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import Trained, find
from digits.training.train import train

from ..helpers import Compose, composed, sample_digits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MODELS = ["article", "compact", "deep", "mlp", "strided", "unpadded"]

BLOCK = {"channels": 3, "kernel_size": 3, "pool": {"kind": "none"}}
ODD = {
    "dilation": [{**BLOCK, "dilation": 3, "padding": 2}],
    "an even kernel, same": [{**BLOCK, "kernel_size": 4}],
    "stride and padding": [{**BLOCK, "stride": 3, "padding": 1, "kernel_size": 5}],
    "overlapping windows": [{**BLOCK, "pool": {"kind": "max", "kernel_size": 3, "stride": 2}}],
    "a mean": [{**BLOCK, "pool": {"kind": "average", "kernel_size": 4, "stride": 3}}],
    "pooling first": [{**BLOCK, "normalisation": "batch", "pool": {"kind": "average", "first": True}}],
    **{
        activation: [{**BLOCK, "activation": activation}, {**BLOCK, "padding": "valid"}]
        for activation in ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "none")
    },
}


def write_checkpoint(path: Path, model: dict[str, Any], data: dict[str, Any] | None = None) -> Network:
    """Write a network with random weights and, in its batch normalisation, random statistics."""
    torch.manual_seed(0)
    network = build_network(model, data).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.running_mean, layer.bias.data):
                torch.nn.init.normal_(values)
            for values in (layer.running_var, layer.weight.data):
                torch.nn.init.uniform_(values, 0.5, 2)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"model": model, "data": data}}, path)
    return network


@pytest.fixture
def opened(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """A function that opens pages; at the end, none may have written to the console or loaded anything but itself."""
    contexts, messages = [], []

    def open_page(file: Path, **options: Any) -> "Page":
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: request.url == file.as_uri() or messages.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


@pytest.fixture(scope="module")
def page_file(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("draw") / "run"
    shutil.copytree(sample_run, run)
    return draw.write(find(run))


def wait(page: "Page", condition: str) -> None:
    """Wait until a condition is true; Playwright's wait_for_function needs eval, which the page forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


LOGITS = """(images) => images.map((image) => {
    const outputs = forward(DATA.steps, currentWeights(), bytesOf(image));
    return [...outputs[outputs.length - 2]];
})"""


def logits_of(page: "Page", images: np.ndarray) -> np.ndarray:
    return np.array(page.evaluate(LOGITS, [base64.b64encode(image.tobytes()).decode() for image in images]))


def assert_same(logits: np.ndarray, network: Network, images: np.ndarray) -> None:
    with torch.inference_mode():
        expected = network(torch.from_numpy(images.copy())).numpy()
    allowed = 1e-4 * np.maximum(1, np.abs(expected).max(1))
    second, first = np.sort(expected, 1)[:, -2:].T
    clear = first - second > 2 * allowed  # a network with random weights has near ties
    assert clear.mean() > 0.9
    assert (logits.argmax(1) == expected.argmax(1))[clear].all()
    assert (np.abs(logits - expected).max(1) <= allowed).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_the_page_computes_what_torch_computes(
    model: str, count: int, tmp_path: Path, opened: Callable[..., "Page"]
) -> None:
    described = composed(f"model={model}").model
    from omegaconf import OmegaConf

    network = write_checkpoint(tmp_path / "net.ckpt", OmegaConf.to_container(described))  # type: ignore[arg-type]
    images = sample_digits()[0][:: 5000 // count]
    page = opened(draw.write(find(tmp_path / "net.ckpt")))
    assert_same(logits_of(page, images), steps.embedded(network), images)


# torch warns that it pads a copy of the input; the result is the same.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", ODD)
def test_the_page_computes_every_configurable_layer(name: str, tmp_path: Path, opened: Callable[..., "Page"]) -> None:
    head = {"hidden": [7], "activation": "gelu", "dropout": 0.5}
    blocks = [{"pool": {"kind": "none"}, **block} for block in ODD[name]]
    network = write_checkpoint(tmp_path / "net.ckpt", {"blocks": blocks, "head": head})
    images = sample_digits()[0][::250]
    page = opened(draw.write(find(tmp_path / "net.ckpt")))
    assert_same(logits_of(page, images), network, images)
    assert_accounts(page, images[7])


ACCOUNTS = """(image) => {
    const pixels = bytesOf(image);
    const outputs = forward(DATA.steps, currentWeights(), pixels);
    return DATA.steps.flatMap((step, number) => {
        if (!views[number].maps) return [];
        const [channels, height, width] = step.shape;
        const random = (count) => Math.floor(Math.abs(Math.sin(1 + 7 * number + count)) * count);
        const places = [[0, 0, 0], [channels - 1, height - 1, width - 1], [channels, height, width].map(random)];
        return places.map(([channel, y, x]) => [
            step.kind,
            account(DATA.steps, currentWeights(), outputs, DATA.classes, { step: number, channel, y, x }).value,
            outputs[number][(channel * height + y) * width + x],
        ]);
    });
}"""


def assert_accounts(page: "Page", image: np.ndarray) -> None:
    """Check that the arithmetic shown gives the value in the map: for each layer, in two corners and inside."""
    found = page.evaluate(ACCOUNTS, base64.b64encode(image.tobytes()).decode())
    assert {kind for kind, *_ in found} >= {"input", "normalise", "linear", "softmax"}
    for kind, value, expected in found:
        assert value == pytest.approx(expected, abs=1e-9, rel=1e-9), kind


def test_the_weights_of_a_large_network_are_rounded_to_float16(tmp_path: Path) -> None:
    network = write_checkpoint(tmp_path / "net.ckpt", {"blocks": [], "head": {"hidden": [1500]}})
    weights = network.state_dict()
    weights["head.hidden1.weight"][0, 0] = 1e6  # beyond float16
    network.load_state_dict(weights)
    rounded = steps.embedded(network).state_dict()
    assert rounded["head.hidden1.weight"][0, 0] == 65504
    assert torch.equal(rounded["head.hidden1.weight"], rounded["head.hidden1.weight"].half().float())
    assert torch.equal(rounded["head.hidden1.bias"], weights["head.hidden1.bias"])
    packed = steps.pack(steps.describe(network))
    assert len(packed) == 2 * (784 * 1500 + 1500 * 10) + 4 * (1500 + 10)
    small = write_checkpoint(tmp_path / "small.ckpt", {"blocks": [], "head": {"hidden": [10]}})
    assert steps.largest_difference(small, sample_digits()[0][:10]) == 0


@pytest.mark.slow
def test_the_page_of_a_large_network_says_what_rounding_changes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "net.ckpt", {"blocks": [], "head": {"hidden": [1500]}})
    text = draw.write(find(tmp_path / "net.ckpt")).read_text(encoding="utf-8")
    stated = re.search(r"float16, which changes the logits of its images by up to ([\d.]+\d)", text)
    assert stated
    assert 0 < float(stated[1]) < 0.01


def test_the_page_holds_everything_that_it_shows(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r"https?://|@import|url\(", text)
    assert len(text) < 500_000


def test_no_name_is_defined_twice() -> None:
    """The scripts are joined into one, in which a second function of the same name would replace the first."""
    scripts = draw.FOLDER.glob("*.js")
    names = [
        name for script in scripts for name in re.findall(r"^(?:function|const|let) (\w+)", script.read_text(), re.M)
    ]
    assert len(names) > 100
    assert [name for name in names if names.count(name) > 1] == []


def test_every_script_is_in_the_page() -> None:
    assert sorted(draw.SCRIPTS) == sorted(path.stem for path in draw.FOLDER.glob("*.js"))


def test_a_page_needs_only_a_checkpoint_and_escapes_class_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run directory or checkpoint"):
        find(tmp_path / "gone")
    write_checkpoint(tmp_path / "net.ckpt", {"blocks": [], "head": {}}, {"classes": ["<b>", "a & b"], "mean": 0.5})
    text = draw.write(Trained(tmp_path / "net.ckpt", tmp_path, None)).read_text(encoding="utf-8")
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    assert json.loads(data)["classes"] == ["<b>", "a & b"]
    assert "<b>" not in text


# Drawings

STROKES = {
    0: [[(0.5, 0.1), (0.25, 0.3), (0.22, 0.6), (0.45, 0.9), (0.72, 0.7), (0.75, 0.35), (0.5, 0.1)]],
    1: [[(0.5, 0.1), (0.48, 0.9)]],
    2: [[(0.25, 0.3), (0.45, 0.1), (0.72, 0.25), (0.6, 0.5), (0.25, 0.88), (0.78, 0.86)]],
    3: [[(0.28, 0.15), (0.65, 0.15), (0.45, 0.45), (0.72, 0.65), (0.5, 0.9), (0.25, 0.8)]],
    4: [[(0.4, 0.1), (0.22, 0.55), (0.78, 0.55)], [(0.65, 0.3), (0.62, 0.92)]],
    5: [[(0.35, 0.12), (0.3, 0.45), (0.6, 0.42), (0.72, 0.65), (0.5, 0.9), (0.25, 0.82)], [(0.36, 0.12), (0.72, 0.1)]],
    6: [[(0.6, 0.1), (0.32, 0.45), (0.3, 0.75), (0.5, 0.9), (0.7, 0.72), (0.55, 0.52), (0.33, 0.65)]],
    7: [[(0.25, 0.15), (0.75, 0.13), (0.5, 0.5), (0.42, 0.92)]],
    8: [[(0.7, 0.2), (0.45, 0.1), (0.32, 0.3), (0.68, 0.65), (0.5, 0.9), (0.3, 0.72), (0.65, 0.35), (0.7, 0.2)]],
    9: [[(0.7, 0.25), (0.45, 0.12), (0.32, 0.35), (0.5, 0.5), (0.7, 0.3), (0.68, 0.6), (0.6, 0.92)]],
}


def drawings(count: int) -> Iterator[list[dict[str, Any]]]:
    """Digits of random size, place, slant and brush width, drawn with an unsteady hand."""
    rng = np.random.default_rng(0)
    for number in range(count):
        scale = rng.uniform(0.12, 1.0)
        slant, left, top = rng.uniform(-0.2, 0.2), *rng.uniform(0, 1 - scale, 2)
        width = rng.uniform(0.03, 0.14)
        yield [
            {
                "width": width if scale > 0.4 else 0.03,
                "points": [
                    [left + scale * (x + slant * (0.5 - y)), top + scale * y]
                    for x, y in np.array(points) + rng.normal(0, 0.015, (len(points), 2))
                ],
            }
            for points in STROKES[number % 10]
        ]


PREPARED = """(strokes) => {
    const { pixels, problem } = preparedDigit(rasterised(strokes));
    return { pixels: pixels && [...pixels], problem, png: rasterContext().canvas.toDataURL() };
}"""


def test_a_drawing_is_prepared_as_predict_prepares_its_picture(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file)
    ours, theirs = [], []
    for strokes in drawings(200):
        found = page.evaluate(PREPARED, strokes)
        picture = Image.open(io.BytesIO(base64.b64decode(found["png"].partition(",")[2])))
        theirs.append(photo.digit(picture))
        assert found["pixels"], found["problem"]
        ours.append(np.array(found["pixels"], dtype=np.uint8).reshape(28, 28))
    difference = np.abs(np.array(ours, dtype=int) - np.array(theirs)).mean((1, 2))
    assert difference.max() <= 2
    assert (logits_of(page, np.array(ours)).argmax(1) == logits_of(page, np.array(theirs)).argmax(1)).all()


def test_drawings_that_are_not_one_digit_are_reported(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file)
    two = [{"width": 0.05, "points": [[x, 0.2], [x, 0.8]]} for x in (0.2, 0.8)]
    assert page.evaluate(PREPARED, two)["problem"] == "Several digits: the network reads one at a time."
    dot = [{"width": 0.01, "points": [[0.5, 0.5]]}]
    assert page.evaluate(PREPARED, dot)["problem"] == "Too few pixels for a digit."
    assert page.evaluate(PREPARED, [{"width": 0.05, "points": [[0.5, 0.5]]}])["pixels"]
    assert page.locator("#says").inner_text() == "Draw a digit above."


def test_the_page_trusts_the_same_images_as_predict(page_file: Path, opened: Callable[..., "Page"]) -> None:
    """The familiarity equals torch's, and the page says which images are unfamiliar and which answers unsure."""
    page = opened(page_file)
    rated = Checkpoint(find(page_file.parents[1]).checkpoint).rated()
    noise = np.random.default_rng(0).integers(0, 256, (10, 28, 28))
    images = np.concatenate([sample_digits()[0][::250], noise.astype(np.uint8)])
    with torch.inference_mode():
        logits, familiarity = rated.rate(torch.from_numpy(images))
    found = page.evaluate(RATED, [base64.b64encode(image.tobytes()).decode() for image in images])
    assert [value for value, _ in found] == pytest.approx(familiarity.tolist(), rel=1e-3, abs=1e-3)
    endings = {
        "read": "%.",
        "unsure": "but it is unsure.",
        "unfamiliar": "but the image is unlike all that it has learned.",
    }
    statuses = [
        rated.thresholds.status(float(p), float(f)) for p, f in zip(logits.softmax(1).amax(1), familiarity, strict=True)
    ]
    assert all(text.endswith(endings[status]) for (_, text), status in zip(found, statuses, strict=True))
    assert {"read", "unfamiliar"} <= set(statuses)


RATED = """(images) => images.map((image) => {
    state.example = bytesOf(image);
    update();
    return [familiarity(DATA.steps, state.outputs, DATA.usual), answerInWords()];
})"""


def test_the_page_of_a_network_that_reads_whole_pictures(tmp_path: Path, opened: Callable[..., "Page"]) -> None:
    data = {"classes": ["Ankle boot", "Sandal and sock", "hat"], "prepare": "resize"}
    write_checkpoint(tmp_path / "net.ckpt", {"blocks": [], "head": {}}, data)
    page = opened(draw.write(find(tmp_path / "net.ckpt")))
    stroke = [{"width": 0.1, "points": [[0.1, 0.1], [0.9, 0.9]]}]
    found = page.evaluate(PREPARED.replace("preparedDigit", "preparedWhole"), stroke)
    picture = Image.open(io.BytesIO(base64.b64decode(found["png"].partition(",")[2])))
    assert np.abs(np.array(found["pixels"]).reshape(28, 28) - photo.resized(picture).astype(int)).max() <= 1
    assert page.locator("#digitsTitle").is_hidden()
    widths = page.evaluate("views.map(({maps}) => maps ? [maps.nameWidth, maps.pitch.x] : [0, 1])")
    assert all(name < pitch for name, pitch in widths)
    assert max(name for name, _ in widths) > 60  # a long name has room too


def test_only_max_pooling_marks_the_winning_value(tmp_path: Path, opened: Callable[..., "Page"]) -> None:
    for kind, marked in (("average", 0), ("max", 1)):
        blocks = [{**BLOCK, "pool": {"kind": kind}}]
        write_checkpoint(tmp_path / "net.ckpt", {"blocks": blocks, "head": {}})
        page = opened(draw.write(find(tmp_path / "net.ckpt")))
        draw_seven(page)
        number = page.evaluate("(kind) => DATA.steps.findIndex((step) => step.kind === kind)", kind)
        place = page.evaluate(LARGEST, number)
        assert page.locator("#panel .numbers span").count() == 4
        assert page.locator("#panel .won").count() == marked
        region = {"step": number - 1, "channel": 0, "y": 2 * place["y"], "x": 2 * place["x"], "side": 2}
        assert page.evaluate("state.account.regions") == [region]


LARGEST = """(step) => {
    const map = [...state.outputs[step].subarray(0, 14 * 14)];
    const at = map.indexOf(Math.max(...map));
    const place = { step, channel: 0, y: Math.floor(at / 14), x: at % 14 };
    point(place, true);
    return place;
}"""


def test_the_page_of_another_checkpoint_does_not_show_the_test_of_the_run(
    sample_run: Path, tmp_path: Path, opened: Callable[..., "Page"]
) -> None:
    shutil.copytree(sample_run, tmp_path / "run")
    path = draw.write(find(tmp_path / "run/checkpoints/last.ckpt"))
    assert path == tmp_path / "run/checkpoints/draw/index.html"
    page = opened(path)
    assert "test images" not in page.locator("header").inner_text()
    assert page.evaluate("[DATA.digits.length, DATA.errors.length]") == [10, 0]


def test_a_network_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "MAX_BYTES", 1000)
    write_checkpoint(tmp_path / "net.ckpt", {"blocks": [], "head": {}})
    with pytest.raises(UserError, match="its weights take 0 MiB, too much for a page"):
        draw.write(find(tmp_path / "net.ckpt"))


def test_the_command_opens_the_page(page_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(typer, "launch", lambda path: opened.append(path) or 0)
    monkeypatch.setattr(sys, "argv", ["digits", "draw", str(page_file.parents[1]), "--open"])
    assert app.main() == 0
    assert opened == [str(page_file)]
    monkeypatch.setattr(typer, "launch", lambda path: 3)
    with pytest.raises(UserError, match="no browser was found; open .* in one"):
        app.main()


# Mouse, touch and keyboard


def draw_seven(page: "Page") -> None:
    box = page.locator("#paper").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in STROKES[7][0]]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    x, y = STROKES[7][0][-1]
    wait(page, f"Math.hypot(state.strokes[0]?.points.at(-1)[0] - {x}, state.strokes[0]?.points.at(-1)[1] - {y}) < 0.02")
    wait(page, "state.outputs.length && !isScheduled")


def test_a_mouse_draws_and_the_network_answers(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file)
    draw_seven(page)
    answer = page.evaluate("[probabilities().indexOf(Math.max(...probabilities())), Math.max(...probabilities())]")
    assert page.locator("#says").inner_text().startswith(f"The network reads {answer[0]}: {100 * answer[1]:.1f}\xa0%")
    assert page.locator("#bars li").nth(answer[0]).inner_text().split() == [
        str(answer[0]),
        f"{100 * answer[1]:.1f}",
        "%",
    ]
    wait(page, "document.querySelector('#spoken').textContent.startsWith('The network reads')")
    wait(page, "document.querySelector('#whyText').textContent.includes('lowers the logit')")
    page.locator("#digits button").nth(2).click()
    wait(page, "state.example")
    page.keyboard.press("Control+z")
    wait(page, "state.strokes.length && !state.example")
    page.get_by_role("button", name="Undo").click()
    wait(page, "!state.outputs.length")
    assert page.locator("#says").inner_text() == "Draw a digit above."
    page.locator("#digits button").nth(3).click()
    wait(page, "state.outputs.length")
    page.get_by_role("button", name="Clear").click()
    wait(page, "!state.outputs.length")


def test_a_finger_draws(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    box = page.locator("#paper").bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(STROKES[7][0]):
        touch = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [touch]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait(page, f"state.strokes.length === 1 && state.strokes[0].points.length === {len(STROKES[7][0])}")
    wait(page, "state.outputs.length && !isScheduled")
    assert page.evaluate("scrollY") == 0
    for _ in range(5):  # on a busy machine, a tap may last half a second and count as a long press
        page.locator(".layer > canvas").nth(2).tap(position={"x": 20, "y": 20})
        page.wait_for_timeout(1500)
        if page.evaluate("Boolean(document.querySelector('#arithmetic.open'))"):
            break
    wait(page, "document.querySelector('#arithmetic.open')")
    page.get_by_role("button", name="Close").tap()
    wait(page, "!document.querySelector('#arithmetic.open')")


def test_a_second_finger_does_not_draw(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file)
    moves = [("down", 1, 0.2), ("move", 1, 0.3), ("down", 2, 0.9), ("move", 2, 0.91), ("up", 2, 0.91), ("move", 1, 0.4)]
    for kind, pointer, at in moves:
        page.evaluate(POINTER, [f"pointer{kind}", pointer, at])
    ((first, *_, last),) = page.evaluate("state.strokes.map(({points}) => points.map(([x]) => x))")
    assert [first, last] == pytest.approx([0.2, 0.4], abs=1e-3)
    assert page.evaluate("state.strokes[0].points.length") == 3


POINTER = """([kind, pointerId, at]) => {
    const paper = document.getElementById("paper");
    paper.setPointerCapture = () => {};
    const { left, top, width, height } = paper.getBoundingClientRect();
    const [clientX, clientY] = [left + at * width, top + at * height];
    paper.dispatchEvent(new PointerEvent(kind, { pointerId, clientX, clientY }));
}"""


def test_the_panel_shows_the_value_under_the_pointer(page_file: Path, opened: Callable[..., "Page"]) -> None:
    """In layers of at least five kinds, the sum in the panel equals the value that the mouse points at."""
    page = opened(page_file)
    draw_seven(page)
    kinds = set()
    for number, kind in enumerate(page.evaluate("DATA.steps.map(({kind}) => kind)")):
        if kind in ("flatten", "dropout"):
            continue
        canvas = page.locator(".layer").nth(number).locator("> canvas")
        canvas.scroll_into_view_if_needed()
        canvas.hover(position={"x": 21, "y": 17})
        wait(page, f"state.place?.step === {number}")
        place = page.evaluate("state.place")
        value = page.evaluate(
            "({step, channel, y, x}) => state.outputs[step]"
            "[(channel * DATA.steps[step].shape[1] + y) * DATA.steps[step].shape[2] + x]",
            place,
        )
        assert float(page.locator("#panel").get_attribute("data-value") or "nan") == pytest.approx(value, abs=1e-9)
        kinds.add(kind)
    assert kinds >= {"convolution", "norm", "activation", "max", "linear"}


def test_a_click_pins_keys_move_and_escape_releases(page_file: Path, opened: Callable[..., "Page"]) -> None:
    page = opened(page_file)
    draw_seven(page)
    canvas = page.locator(".layer > canvas").nth(2)
    canvas.scroll_into_view_if_needed()
    canvas.click(position={"x": 1, "y": 1})
    assert page.evaluate("state.place") == {"step": 2, "channel": 0, "y": 0, "x": 0}
    canvas.hover(position={"x": 30, "y": 30})
    assert page.evaluate("state.place.x") == 0  # pinned
    assert page.locator(".numbers .padding").count() > 0
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("state.place") == {"step": 2, "channel": 0, "y": 2, "x": 0}
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("state.place.x") == 0  # already at the left edge
    for _ in range(28):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("state.place") == {"step": 2, "channel": 1, "y": 2, "x": 0}
    assert page.locator("#spoken").inner_text().startswith("Block 1: convolution 5×5: map 2, row 3, column 1: ")
    page.keyboard.press("Escape")
    assert page.evaluate("state.place") is None
    assert page.locator("#panel").inner_text() == "Point at a value of a feature map."
    canvas.click(position={"x": 1, "y": 1})
    canvas.click(position={"x": 1, "y": 1})
    assert page.evaluate("state.isPinned") is False  # a second click releases it
    canvas.click(position={"x": 58, "y": 1})  # between two maps
    assert page.evaluate("[state.place, state.isPinned]") == [None, False]


LOOK = """() => {
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const small = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
        && hasText(element) && parseFloat(getComputedStyle(element).fontSize) < 12);
    return {
        fits: document.documentElement.scrollWidth <= innerWidth,
        small: small.map((element) => element.outerHTML.slice(0, 80)),
        paper: getComputedStyle(document.body).backgroundColor,
        drawn: [...document.querySelectorAll(".layer > canvas")].every((canvas) => canvas.width && canvas.height),
    };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("ratio", [1, 3])
def test_the_page_fits_the_window_in_light_and_dark(
    page_file: Path, opened: Callable[..., "Page"], scheme: str, width: int, ratio: int
) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "device_scale_factor": ratio}
    page = opened(page_file, **options)
    draw_seven(page)
    page.locator(".layer > canvas").nth(2).click(position={"x": 21, "y": 17})
    page.locator("summary", has_text="Filters").first.click()
    seen = page.evaluate(LOOK)
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    assert seen == {"fits": True, "small": [], "paper": paper, "drawn": True}


# Epochs


def test_the_page_uses_the_weights_of_each_epoch(tiny: Compose, tmp_path: Path, opened: Callable[..., "Page"]) -> None:
    """The averaged weights of each epoch are kept, and the page reads with them."""
    cfg = tiny("callbacks.checkpoint.every_epoch=true", "averaging=ema")
    train(cfg, tmp_path / "run")
    files = sorted((tmp_path / "run/checkpoints/epochs").iterdir())
    assert [file.name for file in files] == ["0.ckpt", "1.ckpt", "2.ckpt"]
    kept = [torch.load(file, weights_only=True) for file in files]
    assert all(content.keys() == {"state_dict", "hyper_parameters", "epoch"} for content in kept)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(kept[2]["state_dict"][name], weight) for name, weight in last.items())
    assert not torch.equal(kept[0]["state_dict"]["network.head.classes.weight"], last["network.head.classes.weight"])
    page = opened(draw.write(find(tmp_path / "run")))
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["epoch"] + 1
    names = page.evaluate("DATA.networks.map(({name}) => name)")
    assert names == ["before training", "epoch 1", "epoch 2", f"the best, epoch {best}"]
    page.locator("#digits button").first.click()
    page.locator("#epoch").fill("0")
    wait(page, "state.network === 0 && !isScheduled")
    assert page.locator("#epochName").inner_text() == "before training"
    images = sample_digits()[0][::500]
    assert_same(logits_of(page, images), find_network(files[0]), images)


def find_network(file: Path) -> Network:
    return Checkpoint(find(file).checkpoint).network()


@pytest.mark.slow
def test_a_page_with_many_epochs_leaves_some_out(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny("callbacks.checkpoint.every_epoch=true", "trainer.max_epochs=4"), tmp_path / "run")
    size = len(steps.pack(steps.describe(find_network(tmp_path / "run/checkpoints/epochs/0.ckpt"))))
    monkeypatch.setattr(draw, "MAX_EPOCH_BYTES", 3 * size)
    text = draw.write(find(tmp_path / "run")).read_text(encoding="utf-8")
    assert re.findall(r'"name": "(before training|epoch \d)"', text) == ["before training", "epoch 2", "epoch 4"]
    assert "Left out, to keep the page small: epochs 1, 3." in text


@pytest.mark.slow
def test_a_resumed_run_saves_the_same_epochs_as_an_uninterrupted_one(tiny: Compose, tmp_path: Path) -> None:
    """A run that fails in its second epoch and resumes ends with the same files as an uninterrupted one."""
    from lightning import Callback

    class Cut(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.current_epoch == 1 and trainer.fit_loop.epoch_loop.batch_idx == 3:
                raise RuntimeError("cut")

    words = ["callbacks.checkpoint.every_epoch=true", "averaging=ema", "callbacks.checkpoint.every_n_steps=2"]
    train(tiny(*words), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut"):
        train(tiny(*words), tmp_path / "run", callbacks=[Cut()])
    train(tiny(*words), tmp_path / "run")
    whole, cut = (tmp_path / name / "checkpoints/epochs" for name in ("whole", "run"))
    assert sorted(file.name for file in cut.iterdir()) == sorted(file.name for file in whole.iterdir())
    for file in whole.iterdir():
        ours, theirs = (torch.load(folder / file.name, weights_only=True)["state_dict"] for folder in (cut, whole))
        assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


# Speed

TIMED = """async (moves) => {
    const paper = document.getElementById("paper").getBoundingClientRect();
    const at = (kind, [x, y]) => document.getElementById("paper").dispatchEvent(new PointerEvent(kind, {
        pointerId: 1, clientX: paper.left + x * paper.width, clientY: paper.top + y * paper.height, bubbles: true }));
    document.getElementById("paper").setPointerCapture = () => {};
    const times = [];
    at("pointerdown", moves[0]);
    await new Promise(requestAnimationFrame);
    for (const move of moves.slice(1)) {
        const before = performance.now();
        const change = state.changes;
        at("pointermove", move);
        while (state.changes === change) await new Promise(requestAnimationFrame);
        times.push(performance.now() - before);
    }
    at("pointerup", moves[0]);
    return times;
}"""


@pytest.mark.parametrize(("model", "limit"), [("compact", 50), ("article", 150)])
@pytest.mark.parametrize(
    "patience", [pytest.param(1, marks=pytest.mark.long), pytest.param(4, marks=[pytest.mark.slow, pytest.mark.alone])]
)
def test_each_movement_is_answered_within_the_limit(
    model: str, limit: int, patience: int, tmp_path: Path, opened: Callable[..., "Page"]
) -> None:
    """48 of 50 movements of the pen are answered within the limit, with all visible layers drawn.

    The limit is in milliseconds, for a quiet machine; a busy machine may take four times as long.
    """
    from omegaconf import OmegaConf

    described = OmegaConf.to_container(composed(f"model={model}").model)
    write_checkpoint(tmp_path / "net.ckpt", described)  # type: ignore[arg-type]
    page = opened(draw.write(find(tmp_path / "net.ckpt")))
    angles = np.linspace(0, 2 * np.pi, 51)
    moves = [[0.5 + 0.3 * np.cos(angle), 0.5 + 0.35 * np.sin(angle)] for angle in angles]
    times = sorted(page.evaluate(TIMED, moves))
    assert len(times) == 50
    assert times[47] <= patience * limit, times
