"""The digits command as users call it: fast help, the whole chain of commands, and one-line error messages."""

import csv
import functools
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from digits.cli import app as cli
from digits.data import sample

from ..helpers import (
    QUICK,
    ROOT,
    TRAIN,
    Done,
    Forked,
    bomb,
    call_main,
    draw,
    output_to,
    run,
    run_cold,
    without_privileges,
)

IMAGES, LABELS = sample.load()
RUN_COMMANDS = ["evaluate", "predict", "explain", "report", "draw", "export"]
COMMANDS = ["train", *RUN_COMMANDS, "leaderboard", "search", "runs", "data"]


def digits(*words: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return run("-m", "digits", *words, cwd=cwd, **options)


@pytest.fixture
def call(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that calls the command in this process, which has already imported torch."""
    monkeypatch.chdir(here)
    return lambda *words: Done(call_main(cli.main, ["digits", *words]), *capfd.readouterr())


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            command, marks=[pytest.mark.slow, pytest.mark.alone] if command in ("", "train") else pytest.mark.long
        )
        for command in ("", *COMMANDS)
    ],
)
def test_help_appears_quickly(command: str, tmp_path: Path) -> None:
    for _ in range(10):
        started = time.perf_counter()
        done = run_cold("-m", "digits", *[word for word in (command, "--help") if word], cwd=tmp_path)
        seconds = time.perf_counter() - started
        assert done.returncode == 0
        if seconds < 0.8:
            break  # one fast attempt is enough: other processes may slow down the others
    assert seconds < 0.8
    assert (command or "export") in done.stdout
    assert "Usage" in done.stdout or command == "train"


def test_the_command_starts_without_slow_imports(tmp_path: Path) -> None:
    program = (
        "import digits.cli.app, sys; print({'hydra', 'omegaconf', 'torch', 'lightning', 'matplotlib'} & {*sys.modules})"
    )
    done = run_cold("-c", program, cwd=tmp_path)
    assert done.stdout == "set()\n", done.stderr
    program = "import sys; before = {*sys.modules}; import digits; print({*sys.modules} - before)"
    done = run_cold("-c", program, cwd=tmp_path)
    assert done.stdout == "{'digits'}\n", done.stderr


@pytest.mark.slow
def test_the_whole_chain_offline_on_the_sample(tmp_path: Path) -> None:
    words = ["model=compact", "data=sample", "trainer.max_epochs=2", "hydra.run.dir=outputs/first"]
    trained = run(TRAIN, *words, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(0, 5000, 250):
        draw(pictures / f"{LABELS[index]}-{index}.png", index)
    for command in (
        ["evaluate", "outputs/first"],
        ["report", "latest"],
        ["explain", "outputs/first", "--digit", "7"],
        ["explain", "outputs/first/checkpoints/last.ckpt", "--image", "pictures/3-1500.png"],
        ["draw", "outputs/first"],
        ["export", "outputs/first"],
        ["export", "outputs/first", "--int8"],
        ["predict", "outputs/first", "pictures", "--show"],
    ):
        done = digits(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
    answers = []
    for source in ("outputs/first", "outputs/first/model.onnx", "outputs/first/model-int8.onnx"):
        done = digits("predict", source, "pictures", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        answers.append([answer["digit"] for answer in json.loads(done.stdout)])
    truth = [int(path.name[0]) for path in sorted(pictures.glob("?-*[0-9].png"))]
    right = [sum(digit == true for digit, true in zip(answer, truth, strict=True)) for answer in answers]
    assert min(right) >= 17  # of 20
    evaluated = json.loads((tmp_path / "outputs/first/evaluation.json").read_text())
    results = json.loads((tmp_path / "outputs/first/results.json").read_text())
    assert evaluated["test_accuracy"] == results["test_accuracy"]
    assert {path.name for path in (tmp_path / "outputs/first").iterdir() if path.name[0] != "."} == {
        "checkpoints",
        "config.yaml",
        "draw",
        "evaluation.json",
        "explanation",
        "metrics.csv",
        "model-int8.onnx",
        "model.onnx",
        "predictions.csv",
        "report",
        "results.json",
        "train.log",
    }


@pytest.fixture
def here(sample_run: Path, tmp_path: Path) -> Path:
    """A folder with a finished run, an unfinished one, two damaged checkpoints, an empty folder and a picture."""
    shutil.copytree(sample_run, tmp_path / "run")
    shutil.copytree(sample_run, tmp_path / "unfinished")
    (tmp_path / "unfinished/results.json").unlink()
    whole = (sample_run / "checkpoints/best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[:1000])
    (tmp_path / "text.ckpt").write_text("a checkpoint, believe me")
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "seven.png", 3600)
    return tmp_path


@pytest.mark.parametrize("command", RUN_COMMANDS)
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone", "there is no run directory or checkpoint gone"),
        ("unfinished", "has not finished"),
        ("cut.ckpt", "cut.ckpt"),
        ("text.ckpt", "text.ckpt"),
        ("empty", "is not a run directory"),
        ("latest", "no finished run under outputs or multirun"),
    ],
)
def test_an_unusable_run_is_refused(
    command: str, source: str, message: str, here: Path, call: Callable[..., Done]
) -> None:
    before = sorted(here.rglob("*"))
    done = call(command, source, *(["seven.png"] if command == "predict" else []))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: ")
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow
def test_bad_pictures_are_reported_and_the_others_are_read(here: Path) -> None:
    (here / "text.png").write_text("7")
    (here / "bomb.png").write_bytes(bomb())
    Image.new("L", (80, 80), 240).save(here / "blank.png")
    names = ["text.png", "seven.png", "bomb.png", "gone.png", "blank.png"]
    done = digits("predict", "run", *names, "--csv", cwd=here)
    assert done.returncode == 1
    rows = {row["picture"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert list(rows) == names
    assert [rows[name]["status"] for name in names] == ["failed", "read", "failed", "failed", "no digit"]
    assert rows["seven.png"]["digit"] == "7"
    assert done.stderr.splitlines() == [
        "Failed: text.png: not a picture: PNG, JPEG, WebP, BMP, GIF and TIFF are read",
        "Failed: bomb.png: too large: more than 100 million pixels",
        "Failed: gone.png: no such file",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "run", "empty"], "empty has no pictures"),
        (["predict", "run", "seven.png", "--json", "--csv"], "choose one"),
        (["predict", "run", ""], "an empty name is not a picture"),
        (["evaluate", ""], "an empty name is not a run directory"),
        (["evaluate", "run", "--tta", "--output", "run"], "--output run is a run"),
        (["evaluate", "run", "--output", "other"], "--output other is a run"),
        (["evaluate", "run/checkpoints/last.ckpt", "--output", "run"], "--output run is a run"),
        (["evaluate", "run", "other", "run/checkpoints/best.ckpt"], "run/checkpoints/best.ckpt is given twice"),
        (["explain", "run", "--image", "gone.png"], "gone.png: no such file"),
        (["explain", "run", "--image", "text.ckpt"], "text.ckpt: not a picture"),
        (["explain", "run", "--image", "seven.png", "--digit", "3"], "choose one"),
        (["explain", "run", "other"], "explain takes one run"),
        (["explain", "model=artcle"], "Did you mean"),
        (["explain", "model=mlp", "--digit", "3"], "not a trained network"),
        (["export", "run", "--output", "gone/model.onnx"], "the folder gone does not exist"),
        (["report", "run/checkpoints/gone.ckpt"], "there is no run directory"),
    ],
)
def test_wrong_arguments_are_refused(words: list[str], message: str, here: Path, call: Callable[..., Done]) -> None:
    shutil.copytree(here / "run", here / "other")
    before = sorted(here.rglob("*"))
    done = call(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert sorted(here.rglob("*")) == before


def use_ascii() -> None:
    """Switch standard output and standard error to ASCII, as PYTHONIOENCODING=ascii does."""
    sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="ascii")  # type: ignore[union-attr]


@pytest.mark.slow
def test_file_names_that_the_encoding_lacks(here: Path) -> None:
    names = [os.fsdecode(b"a\xff.png"), "acht – 8\n.png"]
    for name in names:
        draw(here / name, 3600)
    done = digits("predict", "run", *names, "gone.png", cwd=here, prepared=use_ascii)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["7", "7"]
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == "Failed: gone.png: no such file\n"


@pytest.mark.slow
def test_a_run_whose_name_looks_like_a_setting(here: Path, call: Callable[..., Done]) -> None:
    (here / "run").rename(here / "lr=0.1")
    done = call("explain", "lr=0.1", "--digit", "3")
    assert done.returncode == 0, done.stderr
    assert (here / "lr=0.1/explanation").is_dir()
    assert call("explain", "model.blocks.0.channels=" + 300 * "9").returncode == 2  # too long for a file name


def test_show_writes_a_drawing_per_picture_and_reports_failures(here: Path, call: Callable[..., Done]) -> None:
    draw(here / "seven.bmp", 3600)
    draw(here / "eight.png", 4000)
    (here / "eight.png.seen.png").mkdir()
    done = call("predict", "run", "eight.png", "seven.bmp", "seven.png", "--show")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == "Failed: eight.png: eight.png.seen.png cannot be written: Is a directory.\n"
    assert {path.name for path in here.glob("seven.*.seen.png")} == {"seven.bmp.seen.png", "seven.png.seen.png"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8])
def test_an_interruption_while_many_pictures_are_read(seconds: float, here: Path) -> None:
    (here / "many").mkdir()
    for index in range(300):
        (here / f"many/{index}.png").symlink_to(here / "seven.png")
    process = Forked("-m", "digits", "predict", "run", "many", "--json", cwd=here, new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches the whole process group
    out, err = process.communicate(timeout=60)
    assert process.returncode in (130, 0, -signal.SIGINT)  # -SIGINT: it arrived while Python was exiting
    assert "Traceback" not in err
    assert isinstance(json.loads(out or "[]"), list)


def test_evaluating_another_checkpoint_keeps_the_evaluation_of_the_run(here: Path, call: Callable[..., Done]) -> None:
    before = (here / "run/evaluation.json").read_bytes()
    done = call("evaluate", "run/checkpoints/last.ckpt")
    assert done.returncode == 0, done.stderr
    assert "Written to run/checkpoints/evaluation.json" in done.stdout
    assert json.loads((here / "run/checkpoints/evaluation.json").read_text())["images"] == 500
    assert (here / "run/evaluation.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "place", "mode", "message"),
    [
        ("evaluate run", "run", 0o500, r"run/evaluation\.json cannot be written: Permission denied"),
        ("explain run --digit 3", "run", 0o500, r"run/explanation cannot be written: Permission denied"),
        ("report run", "run", 0o500, r"run/report/index\.html cannot be written: Permission denied"),
        ("draw run", "run", 0o500, r"run/draw/index\.html cannot be written: Permission denied"),
        ("export run", "run", 0o500, r"run/model\.onnx cannot be written: Permission denied"),
        ("predict run seven.png", "run/checkpoints/best.ckpt", 0, r"best\.ckpt: Permission denied"),
        ("evaluate run/checkpoints/best.ckpt", "run/checkpoints", 0, r"best\.ckpt: Permission denied"),
        ("leaderboard .", "run/results.json", 0, r"results\.json: Permission denied"),
        ("report run", "run/results.json", 0, r"results\.json: Permission denied"),
        ("evaluate run", "run", 0, r"run.* Permission denied"),
        ("data --root run/data", "run", 0o500, r"run/data cannot take the files of MNIST: Permission denied"),
        ("train data=sample hydra.run.dir=run/new", "run", 0o500, r"run/new cannot be created: Permission denied"),
        ("train data=sample hydra.run.dir=run", "run", 0o500, r"run cannot be written: Permission denied"),
        ("train data=sample", ".", 0o500, r"cannot be created: Permission denied"),
        ("train data=sample -m seed=1", ".", 0o500, r"cannot be created: Permission denied"),
        ("train data=sample -m hydra.sweep.dir=run", "run", 0o500, r"run cannot be written: Permission denied"),
        (
            "train data=sample hydra.run.dir=run",
            "run/config.yaml",
            0,
            r"config\.yaml cannot be read: .*Permission denied",
        ),
    ],
)
def test_folders_and_files_without_permission(command: str, place: str, mode: int, message: str, here: Path) -> None:
    before = (here / place).stat().st_mode
    (here / place).chmod(mode)
    done = digits(*shlex.split(command), cwd=here, prepared=without_privileges)
    (here / place).chmod(before)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_reader_that_stops_early_causes_no_error_message(here: Path) -> None:
    for index in range(150):
        draw(here / f"{index}.png", index)
    pipe = here / "pipe"
    os.mkfifo(pipe)
    words = ["predict", "run", ".", "--csv"]
    process = Forked("-m", "digits", *words, cwd=here, prepared=functools.partial(output_to, str(pipe), 1))
    with pipe.open() as reader:
        assert reader.readline().startswith("picture,")
    _, err = process.communicate(60)
    assert (process.returncode in (0, 1), err) == (True, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_training_survives_an_unwritable_standard_output(tmp_path: Path) -> None:
    full = functools.partial(output_to, "/dev/full", 1)
    done = run(TRAIN, *QUICK, "hydra.run.dir=here", cwd=tmp_path, prepared=full)
    assert done.returncode == 0
    assert (tmp_path / "here/results.json").exists()


def test_missing_standard_input_is_reported(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    done = call("predict", "run", "-")
    assert done.returncode == 2
    assert "there is no standard input" in done.stderr


def test_escape_sequences_in_a_file_are_printed_as_text(here: Path, call: Callable[..., Done]) -> None:
    failure = {"status": "failed", "error": "\x1b[2Jgone [/nope] [red]"}
    (here / "run/results.json").write_text(json.dumps(failure))
    for command in ("report run", "leaderboard ."):
        done = call(*command.split())
        assert "\x1b" not in done.stdout + done.stderr
        assert r"\x1b[2Jgone [/nope] [red]" in done.stdout + done.stderr


def test_best_prints_and_copies_the_best_run(here: Path, call: Callable[..., Done]) -> None:
    done = call("leaderboard", ".", "--best")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "run")
    done = call("leaderboard", ".", "--best", "--output", "elsewhere")
    assert (done.returncode, done.stderr.split(",")[0]) == (
        2,
        "Error: --output is for the leaderboard's files",
    )
    done = call("leaderboard", ".", "--best", "--copy", "copied")
    assert done.returncode == 0, done.stderr
    assert (here / "copied/results.json").read_bytes() == (here / "run/results.json").read_bytes()
    done = call("leaderboard", ".", "--best", "--copy", "copied")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: --copy copied exists; name a new directory.\n",
    )


def test_runs_are_found_by_their_tags(here: Path, call: Callable[..., Done]) -> None:
    for number, tags in enumerate(("[good]", "[good,new]", "[]")):
        (here / f"outputs/{number}").mkdir(parents=True)
        (here / f"outputs/{number}/config.yaml").write_text(f"tags: {tags}")
    assert [f"outputs/{number}" in call("runs").stdout for number in range(3)] == [True] * 3
    assert [f"outputs/{number}" in call("runs", "--tag", "good").stdout for number in range(3)] == [True, True, False]
    assert call("runs", "--number", "1").stdout.count("outputs/") == 1


@pytest.mark.parametrize("options", ["", "--json", "--csv", "--show"])
def test_predict_reads_a_row_of_digits(
    options: str, sample_run: Path, call: Callable[..., Done], tmp_path: Path
) -> None:
    shutil.copy(ROOT / "docs/row.jpg", tmp_path / "row.jpg")
    done = call("predict", str(sample_run), str(tmp_path / "row.jpg"), "--row", *options.split())
    assert done.returncode == 0, done.stderr
    if options == "--json":
        (record,) = json.loads(done.stdout)
        text = record["text"]
        assert [symbol["text"] for symbol in record["symbols"]] == list(text)
    elif options == "--csv":
        (record,) = csv.DictReader(io.StringIO(done.stdout))
        text = record["text"]
    else:
        text = done.stdout.splitlines()[1].split()[0]
    assert [character for character in text if not character.isdigit()] == ["/", "-"]
    assert len(text) == 10
    assert (tmp_path / "row.jpg.seen.png").exists() == (options == "--show")
    without_row = call("predict", str(sample_run), str(tmp_path / "row.jpg"))
    assert "several digits: read them as a row (--row)" in without_row.stdout
