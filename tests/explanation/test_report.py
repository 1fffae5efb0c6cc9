"""The report is one file that shows the results of the run and loads nothing else, in a browser too if there is one."""

import dataclasses
import html.parser
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from digits.cli.train import write_report
from digits.errors import UserError
from digits.evaluation import metrics as evaluation
from digits.explanation import report
from digits.model.spec import with_article
from digits.runs.find import find
from digits.runs.run import Run
from digits.training.train import train

from ..helpers import Compose

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def page(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(sample_run, run)
    return report.write(*find(run).finished_run())


class Reader(html.parser.HTMLParser):
    """The text of a page, its tags, and the addresses that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_shows_the_results_of_the_run(page: Path) -> None:
    text = " ".join(" ".join(Reader(page.read_text(encoding="utf-8")).words).split())
    results, tested = Run(page.parents[1]).results, evaluation.read(page.parents[1])
    assert results is not None
    assert tested is not None
    assert f"{100 * results.test_accuracy:.2f} % of 500 test digits read right; {tested.mistakes} wrong" in text
    assert "A sample of MNIST" in text
    assert f"{results.parameters:,}" in text
    assert "conv 5×5, 1→8, padding 2, batch norm, relu" in text
    assert "optimizer.lr 0.01" in text
    for error in tested.worst:
        assert f"{with_article(str(error.digit))}, read as {error.answer}" in text
    for row in tested.confusion_matrix:
        assert " ".join(str(count) for count in row if count) in text


def test_the_page_holds_everything_that_it_shows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert "script" not in reader.tags
    assert reader.tags.count("svg") == 3 + 1 + 6
    tested = evaluation.read(page.parents[1])
    assert tested is not None
    assert reader.tags.count("img") == len(tested.worst)
    assert all(address.startswith(("data:", "#")) for address in reader.loaded)
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(text) < 2_000_000


SEEN = """() => {
    const images = [...document.images], drawings = [...document.querySelectorAll("svg")];
    return {
        images: images.filter((image) => image.naturalWidth && image.clientHeight === image.clientWidth).length,
        drawings: drawings.filter((svg) => svg.clientHeight > 100).length,
        fits: document.documentElement.scrollWidth <= innerWidth,
        accuracy: document.querySelector(".accuracy").innerText,
    };
}"""


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_in_a_browser(page: Path, browser: "Browser", width: int) -> None:
    """The console has no message, every image and drawing has its shape, and nothing is wider than the window."""
    results, tested = Run(page.parents[1]).results, evaluation.read(page.parents[1])
    assert results is not None
    assert tested is not None
    view = browser.new_page(viewport={"width": width, "height": 2000})
    messages: list[str] = []
    view.on("console", lambda message: messages.append(message.text))
    view.on("pageerror", lambda error: messages.append(str(error)))
    view.goto(page.as_uri())
    assert view.evaluate(SEEN) == {
        "images": len(tested.worst),
        "drawings": 10,
        "fits": True,
        "accuracy": f"{100 * results.test_accuracy:.2f} %",
    }
    view.close()
    assert messages == []


@pytest.mark.slow
def test_the_command_writes_the_report_of_a_training(tiny: Compose, tmp_path: Path) -> None:
    results = train(tiny("report=true"), tmp_path / "run")
    write_report(Run(tmp_path / "run"), results)
    assert "<h1>digits: run</h1>" in (tmp_path / "run/report/index.html").read_text(encoding="utf-8")


def test_a_failed_report_does_not_lose_the_results(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(report, "write", broken)
    results = train(tiny("report=true"), tmp_path / "run")
    write_report(Run(tmp_path / "run"), results)
    assert results.status == "finished"
    assert Run(tmp_path / "run").results == results
    assert f"No report: no space. To write it later: digits report {tmp_path / 'run'}" in caplog.text


@pytest.mark.slow
def test_a_run_without_an_evaluation_is_evaluated(sample_run: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_run, tmp_path / "run")
    (tmp_path / "run/evaluation.json").unlink()
    report.write(*find(tmp_path / "run").finished_run())
    assert evaluation.read(tmp_path / "run") == evaluation.read(sample_run)


@pytest.mark.slow
def test_the_evaluation_of_another_checkpoint_is_replaced(sample_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(sample_run, run)
    truth = evaluation.read(run)
    assert truth is not None
    dataclasses.replace(truth, test_accuracy=0.11, mistakes=445).write(run)
    assert "; 445 wrong" not in report.write(*find(run / "checkpoints/last.ckpt").finished_run()).read_text(
        encoding="utf-8"
    )
    assert evaluation.read(run) == truth


@pytest.mark.slow
def test_a_report_without_metrics_escapes_the_name_of_the_run(sample_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "<b>&run"
    shutil.copytree(sample_run, run)
    (run / "metrics.csv").unlink()
    text = report.write(*find(run).finished_run()).read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;run" in text
    assert "<b>&" not in text


@pytest.mark.slow
def test_reports_that_cannot_be_written_are_refused(sample_run: Path, tmp_path: Path) -> None:
    shutil.copy(sample_run / "checkpoints/best.ckpt", tmp_path / "mine.ckpt")
    with pytest.raises(UserError, match="not in the directory of a finished run"):
        report.write(*find(tmp_path / "mine.ckpt").finished_run())
    shutil.copytree(sample_run, tmp_path / "run")
    (tmp_path / "run/report").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        report.write(*find(tmp_path / "run").finished_run())


@pytest.mark.slow
def test_the_report_is_not_part_of_the_configuration(tiny: Compose, tmp_path: Path) -> None:
    results = train(tiny(), tmp_path / "run")
    assert not Run(tmp_path / "run").report_file.exists()
    assert train(tiny("report=true"), tmp_path / "run") == results
