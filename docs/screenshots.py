"""Creates the pictures of docs/guide.md with Chromium and the runs that the guide trains.

python docs/screenshots.py outputs/guide outputs/learning multirun/guide
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from digits.explanation import draw
from digits.explanation.explain import explain, pixels_of
from digits.runs.find import find

OUTPUT = Path(__file__).with_name("guide")
FIVE = [
    [(0.36, 0.16), (0.33, 0.42), (0.52, 0.38), (0.68, 0.5), (0.68, 0.7), (0.5, 0.86), (0.3, 0.78)],
    [(0.36, 0.16), (0.68, 0.14)],
]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def open_page(browser: Browser, run: Path, width: int = 1250, height: int = 1100) -> Page:
    """Open the page of a run, and draw a 5."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(draw.write(find(run)).resolve().as_uri())
    box = page.locator("#paper").bounding_box()
    assert box
    for stroke in FIVE:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=5)
        page.mouse.up()
    page.wait_for_timeout(8000)  # until the page shows which pixels mattered
    return page


def save(png: bytes, name: str) -> None:
    """Save a picture in a small file."""
    Image.open(io.BytesIO(png)).convert("RGB").save(OUTPUT / f"{name}.png", optimize=True)
    print(OUTPUT / f"{name}.png")


LARGEST = """([title, channel]) => {
    const step = DATA.steps.findIndex((step) => step.title.startsWith(title));
    const [, height, width] = DATA.steps[step].shape;
    const map = [...state.outputs[step].subarray(channel * height * width, (channel + 1) * height * width)];
    const place = map.indexOf(Math.max(...map));
    point({ step, channel, y: Math.floor(place / width), x: place % width }, true);
}"""


def point(page: Page, title: str, channel: int) -> None:
    """Pin the largest value of one channel of the layer whose title starts with `title`."""
    page.evaluate(LARGEST, [title, channel])
    page.wait_for_timeout(300)


def rows(page: Page, first: str, last: str, panel: bool) -> bytes:
    """A screenshot of the layers from one title to another, and of the panel if `panel` is true."""
    titles = page.evaluate("DATA.steps.map((step) => step.title)")
    numbers = [next(n for n, title in enumerate(titles) if title.startswith(part)) for part in (first, last)]
    page.evaluate("(n) => views[n].section.scrollIntoView()", numbers[0])
    page.wait_for_timeout(300)
    boxes = [page.locator(".layer").nth(number).bounding_box() for number in numbers]
    if panel:
        boxes.append(page.locator("#arithmetic").bounding_box())
    edges = [(box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]) for box in boxes if box]
    left, top = min(edge[0] for edge in edges) - 8, max(0, min(edge[1] for edge in edges))
    right, bottom = max(edge[2] for edge in edges) + 8, max(edge[3] for edge in edges)
    return page.screenshot(clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def of_page(browser: Browser, run: Path) -> None:
    """Save pictures of the page of the article's network."""
    page = open_page(browser, run)
    save(page.screenshot(), "page")
    page.set_viewport_size({"width": 1250, "height": 1400})
    page.wait_for_timeout(500)
    point(page, "Block 1: convolution", 6)
    save(rows(page, "Normalised", "Block 1: convolution", panel=True), "convolution")
    point(page, "Block 2: convolution", 4)
    save(rows(page, "Block 1: max", "Block 2: convolution", panel=True), "channels")
    point(page, "Block 1: max", 6)
    save(rows(page, "Block 1: ReLU", "Block 1: max", panel=True), "pooling")
    point(page, "Fully connected layer, 1,000", 5)
    save(rows(page, "Fully connected layer, 1,000", "Softmax", panel=True), "linear")
    page.keyboard.press("Escape")
    save(rows(page, "Block 1: convolution", "Block 1: ReLU", panel=False), "relu")


def of_epochs(browser: Browser, run: Path) -> None:
    """Save a picture of one drawing, read by the networks of three epochs."""
    page = open_page(browser, run)
    last = page.evaluate("DATA.networks.length - 2")
    parts = []
    for epoch in (0, 1, last):
        page.locator("#epoch").fill(str(epoch))
        page.wait_for_timeout(6000)
        shots = (page.locator(section).screenshot() for section in ("#epochs", "#answer"))
        parts += [Image.open(io.BytesIO(shot)) for shot in shots]
    width, heights = parts[0].width, (parts[0].height, parts[1].height)
    whole = Image.new("RGB", (3 * width + 40, sum(heights) + 8), "white")
    for number in range(3):
        whole.paste(parts[2 * number], (number * (width + 20), 0))
        whole.paste(parts[2 * number + 1], (number * (width + 20), heights[0] + 8))
    file = io.BytesIO()
    whole.save(file, "PNG")
    save(file.getvalue(), "epochs")


def main(run: Path, learning: Path, sweep: Path) -> None:
    """Create all pictures."""
    OUTPUT.mkdir(exist_ok=True)
    trained = find(run)
    explained = {path.stem: path for path in explain(trained, pixels_of(trained, None, 7))}
    save(explained["block1"].read_bytes(), "maps")
    save(explained["sizes"].read_bytes(), "sizes")
    save((sweep / "accuracy-optimizer.lr.png").read_bytes(), "rates")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        of_page(browser, run)
        of_epochs(browser, learning)
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
