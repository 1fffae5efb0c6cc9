"""Wrong input of every kind to every command: an exit code, a line or two, no traceback, and nothing left behind.

The table in docs/reliability.md shows what these tests see; WRITE_DOCS=1 writes it again.
"""

import contextlib
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from PIL import Image

from digits.cli import app as cli
from digits.cli import train as training_command
from digits.data import download as files
from digits.data import sources
from digits.evaluation import evaluate
from digits.explanation import report
from digits.model.classifier import DigitClassifier
from digits.runs.run import Run
from digits.sweeps.plan import write_plan

from ..helpers import ROOT, TINY, TRAIN, Done, bomb, call_main, draw, environment, idx, run

pytestmark = pytest.mark.slow  # half a minute

DOCS = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- what the tests see -->\n", "<!-- end -->\n"

# Commands by the kind of wrong input. Keys that only make a training short are left out; `short` adds them.
CASES = {
    "Keys and values": [
        "python train.py optimizer.lrr=0.1",
        "python train.py optimzer=adam",
        "python train.py model=artcle",
        "python train.py optimizer.lr=fast",
        "python train.py optimizer.lr=-1",
        "python train.py optimizer.lr=nan",
        "python train.py data.batch_size=0",
        "python train.py data.batch_size=1.5",
        "python train.py data.val_size=-1",
        "python train.py data.val_size=60000",
        "python train.py model.head.dropout=1",
        "python train.py trainer.max_epochs=many",
        "python train.py trainer.accelerator=abacus",
        "python train.py trainer.precision=3",
        "python train.py trainer.devices=0",
        "python train.py callbacks.checkpoint.every_n_steps=0",
        "python train.py seed=-1",
        "python train.py optimizer.lr=0.1,0.01",
        "python train.py optimizer.lr",
        "python train.py --epochs 3",
        "python train.py +optimizer.speed=3",
        "python train.py ~optimizer",
        "python train.py model.blocks.7.channels=3",
        "python train.py experiment=gone",
        "python train.py hydra.run.dirs=here",
        "digits evaluat run",
        "digits evaluate",
        "digits evaluate run --fast",
        "digits explain run --digit 11",
        "digits explain run --digit seven",
        "digits predict run seven.png --json --csv",
        "digits explain run other",
        "digits explain model=mlp --digit 3",
    ],
    "Impossible geometries": [
        "python train.py model.blocks.1.kernel_size=20 model.blocks.1.padding=0",
        "python train.py model.blocks.0.stride=0",
        "python train.py model.blocks.0.padding=same model.blocks.0.stride=2",
        "python train.py model.blocks.0.pool.kernel_size=40",
        "digits explain model.blocks.0.dilation=9 model.blocks.0.padding=0",
    ],
    "Runs and checkpoints": [
        *(f"digits {command} gone" for command in ("evaluate", "explain", "report", "export", "leaderboard")),
        *(f"digits {command} unfinished" for command in ("evaluate", "explain", "report", "export")),
        *(f"digits evaluate {name}" for name in ("failed", "emptyfolder", "latest", "''", "notafolder/run")),
        *(f"digits evaluate {name}.ckpt" for name in ("text", "empty", "cut", "flipped", "code", "packed", "other")),
        *(f"digits evaluate {name}.ckpt" for name in ("class", "target", "huge", "unknown")),
        "digits report cut.ckpt",
        "digits predict gone seven.png",
        "digits predict text.onnx seven.png",
        "digits predict gone.onnx seven.png",
        "digits explain text.onnx",
        "digits evaluate spoilt",
        "digits report nested",
        "python train.py hydra.run.dir=nested",
        "digits export run --output gone/model.onnx",
        "digits export run --output model.pt",
        "python train.py optimizer.lr=0.3 hydra.run.dir=run",
        "python train.py hydra.run.dir=claimed",
        "python train.py hydra.run.dir=spoilt",
    ],
    "Pictures": [
        "digits predict run gone.png",
        "digits predict run text.png",
        "digits predict run empty.png",
        "digits predict run cut.png",
        "digits predict run bomb.png",
        "digits predict run emptyfolder",
        "digits predict run '*.tiff'",
        "digits predict run ''",
        "digits explain run --image gone.png",
        "digits explain run --image blank.png",
        "digits explain run --image bomb.png",
    ],
    "Data": [
        "digits data --root damaged",
        "digits data --root notafolder/mnist",
        "python train.py data.root=damaged",
        "python train.py data.root=nothing data.offline_fallback=false",
        "python train.py data.root=nothing data.val_size=60000",
        "python train.py data=sample data.val_size=4500",
        "python train.py data=fashion data.root=nothing",
        "python train.py data=kmnist data.root=nothing",
        "python train.py data=folder",
        *(f"python train.py data=folder data.root={name}" for name in ("gone", "text.png", "emptyfolder", "oneclass")),
        *(f"python train.py data=folder data.root={name}" for name in ("hollow", "unreadable", "twice")),
        "python train.py data=folder data.root=letters data.test_size=0",
        "python train.py data=folder data.root=letters data.test_size=0.99",
        "python train.py data=folder data.root=letters data.val_size=1.5",
        "python train.py data=folder data.root=letters data.prepare=crop",
        "digits evaluate run --data gone",
        "digits evaluate run --data letters",
        "digits evaluate run --data fashion",
    ],
    "Weights to start from": [
        *(f"python train.py data=sample start_from={name}" for name in ("gone", "unfinished", "cut.ckpt", "run")),
        "python train.py data=sample freeze=blocks",
        "python train.py data=sample start_from=run freeze=head",
        "python train.py data=sample start_from=run freeze=blocks model.blocks=[]",
    ],
    "Nowhere to write, no GPU": [
        "python train.py hydra.run.dir=notafolder/run",
        "python train.py trainer.accelerator=gpu",
        "digits evaluate full",
        "digits report full",
        "digits export full",
        "digits explain full --digit 3",
        "digits predict run seven.png --show",
    ],
    "Sweeps and searches": [
        "python train.py -m optimizer.lr=0.1,fast",
        "python train.py -m optimizer.lr=",
        "python train.py -m trainer=ddp seed=1,2",
        "python train.py -m trainer.num_nodes=2 seed=1,2",
        "python train.py -m data=sample seed=1 hydra.sweep.dir=planned",
        "python train.py -m data=sample seed=1 hydra.sweep.dir=misplanned",
        "digits leaderboard misplanned",
        "digits leaderboard emptyfolder",
        "digits leaderboard . --copy best",
        "digits leaderboard . --best --copy run",
        "digits runs gone",
        "digits search --space gone.yaml",
        "digits search --space spaces.yaml",
        "digits search --space empty.yaml",
        "digits search --trials 0",
        "digits search optimizer.lr=0.1",
        "digits search data=sample --output searched",
        "digits search data=sample --output garbled",
        "digits search data=sample --output notafolder/search",
    ],
    "Numbers that go wrong": ["python train.py data=sample optimizer.lr=1e30"],
}
SHORT = [word for word in TINY if not word.startswith(("data.batch", "data.val", "trainer.acc"))]


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def spoil(content: dict[str, Any], name: str) -> dict[str, Any]:
    content = {**content, "hyper_parameters": {**content["hyper_parameters"]}}
    model = content["hyper_parameters"]["model"]
    match name:
        case "other":
            return {"weights": torch.zeros(3)}
        case "class":
            return {**content, "state_dict": {"network": "os.system"}}
        case "target":
            blocks = [{**model["blocks"][0], "_target_": "os.system"}]
            content["hyper_parameters"]["model"] = {**model, "blocks": blocks}
        case "huge":
            content["hyper_parameters"]["model"] = {**model, "head": {**model["head"], "hidden": [10**9, 10**9]}}
        case "unknown":
            content["hyper_parameters"] = {}
    return content


@pytest.fixture(scope="module")
def place(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run, and with runs, checkpoints, pictures and data that have something wrong."""
    here = tmp_path_factory.mktemp("place")
    for name in ("run", "unfinished", "failed", "full", "spoilt", "nested"):
        shutil.copytree(sample_run, here / name)
    (here / "unfinished/results.json").unlink()
    Run(here / "failed").write_failure(RuntimeError("the loss is nan"))
    (here / "spoilt/results.json").write_text("{")
    (here / "nested/config.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    for name in ("evaluation.json", "model.onnx", "report", "explanation"):  # something else is in the way
        shutil.rmtree(here / "full" / name, ignore_errors=True)
        (here / "full" / name).unlink(missing_ok=True)
    (here / "full/evaluation.json").mkdir()
    (here / "full/model.onnx").mkdir()
    (here / "full/report").touch()
    (here / "full/explanation").touch()
    (here / "emptyfolder").mkdir()
    (here / "planned").mkdir()
    write_plan(here / "planned", [["data=sample", "seed=1"], ["data=sample", "seed=2"]])
    (here / "misplanned").mkdir()
    (here / "misplanned/sweep.json").write_text("{")
    (here / "spaces.yaml").write_text("spaces: {}")
    (here / "empty.yaml").write_text("space: {}")
    (here / "searched").mkdir()
    (here / "searched/search.json").write_text("{}")
    (here / "garbled").mkdir()
    (here / "garbled/study.journal").write_text("garbled\n\n")
    (here / "notafolder").touch()
    (here / "claimed").mkdir()

    whole = (sample_run / "checkpoints/best.ckpt").read_bytes()
    content = torch.load(sample_run / "checkpoints/best.ckpt", weights_only=True)
    (here / "text.ckpt").write_text("a checkpoint, believe me")
    (here / "empty.ckpt").touch()
    (here / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 8
    (here / "flipped.ckpt").write_bytes(flipped)
    torch.save({**content, "state_dict": Payload()}, here / "code.ckpt", pickle_module=pickle)
    with zipfile.ZipFile(here / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(10**6))
    for name in ("other", "class", "target", "huge", "unknown"):
        torch.save(spoil(content, name), here / f"{name}.ckpt")
    (here / "text.onnx").write_text("a network, believe me")

    (here / "text.png").write_text("7")
    (here / "empty.png").touch()
    (here / "bomb.png").write_bytes(bomb())
    Image.new("L", (80, 80), 240).save(here / "blank.png")
    picture = Path(draw(here / "seven.png", 3600)).read_bytes()
    (here / "cut.png").write_bytes(picture[: len(picture) // 2])
    (here / "seven.png.seen.png").mkdir()

    for folder, names in (
        ("oneclass", "a"),
        ("hollow", "ab"),
        ("unreadable", "ab"),
        ("twice", "ab"),
        ("letters", "ab"),
    ):
        for number, name in enumerate(names):
            (here / folder / name).mkdir(parents=True)
            shift = 0 if folder == "twice" else number
            draw(here / folder / name / f"{number}.png", 3600 + shift)
    (here / "hollow/b/1.png").unlink()
    (here / "unreadable/b/1.png").write_text("a picture, believe me")
    (here / "damaged").mkdir()
    for name in sources.MNIST.files:
        (here / "damaged" / name).write_bytes(idx(np.zeros((3, 28, 28), np.uint8)))
    with filelock.FileLock(here / "claimed/.lock"):
        yield here


@pytest.fixture
def type_in(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that runs a command in this process, which has imported torch; without a network or a GPU."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    for accelerator in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", lambda: False)
    monkeypatch.setattr(sources.Source, "mirrors", lambda self: ["http://127.0.0.1:9/"])

    def type_in(command: str, *more: str) -> Done:
        program, *words = shlex.split(command)
        if program == "python":
            code = call_main(training_command.main, [*words, *more])
        else:
            code = call_main(cli.main, [program, *words])
        return Done(code, *capfd.readouterr())

    return type_in


def short(command: str) -> list[str]:
    """Keys that make a training short, except those that the command sets itself."""
    keys = [word.partition("=")[0] for word in shlex.split(command)]
    words = [word for word in SHORT if not word.startswith(("model", *keys))]
    return [*words, *([] if any("hydra.run.dir" in key for key in keys) else ["hydra.run.dir=new"])]


WRITING = bool(os.environ.get("WRITE_DOCS"))
SEEN: dict[str, str] = {}  # rows of the table by their command
# What a training or a search that is refused may leave behind.
LEFT = {
    "train.log",
    ".digits-photo.npz",
    ".fetching.lock",
    ".lock",
    "MNIST",
    "raw",
    "nothing",
    "data",
    "FashionMNIST",
    "search.json",
    ".journal",
}
PHASES = {
    "it fetches the data": (files, "_download"),
    "it reads the data": (files, "parse_idx"),
    "it trains": (DigitClassifier, "training_step"),
    "it tests": (evaluate, "logits"),
    "it writes the report": (report, "write"),
    "it writes its results": (Run, "write_results"),
}
SIGNALS = {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}
TABLES = {**CASES, "Interrupted": [f"{word} while {phase}" for word in SIGNALS for phase in PHASES]}
HEAD = "| command | exit code | message |\n|---|---|---|\n"
VARYING = [r"(?<=as ONNX: ).*", r"/\S*/place\d+/", r"(?<=loss is )\S+(?= at step)"]  # differs between machines


@pytest.mark.parametrize("command", [command for commands in CASES.values() for command in commands])
def test_wrong_input(command: str, type_in: Callable[..., Done], place: Path) -> None:
    before = set(place.rglob("*"))
    trains = command.startswith("python") and any(word in command for word in ("run.dir", "data.", "data=", "gpu"))
    done = type_in(command, *(short(command) if trains else []))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr + done.stdout
    assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr
    assert re.match(r"(Error|Failed): \S", done.stderr)
    left = {path.relative_to(place) for path in set(place.rglob("*")) - before}
    shutil.rmtree(place / "new", ignore_errors=True)
    shutil.rmtree(place / "outputs", ignore_errors=True)
    assert {path.parts[0] for path in left if path.name not in LEFT} <= {
        "new",
        "outputs",
    }  # otherwise, only directories of runs are left
    check_row(command, done.returncode, done.stderr)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("word", SIGNALS)
def test_interrupted_in_every_phase(
    phase: str, word: str, type_in: Callable[..., Done], place: Path, tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = PHASES[phase]
    number, code = SIGNALS[word]
    original = getattr(owner, name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(number)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)
    data = "nothing" if "fetches" in phase else tiny_mnist
    words = [word for word in TINY if word != "report=false"]
    done = type_in("python train.py", *words, "hydra.run.dir=new", f"data.root={data}")
    monkeypatch.setattr(owner, name, original)
    assert done.returncode == code
    assert done.stderr.strip().startswith("Interrupted. To resume: python train.py")
    second = type_in("python train.py", *words, "hydra.run.dir=new", f"data.root={tiny_mnist}")
    assert second.returncode == 0
    assert Run(place / "new").results is not None
    assert not [path for path in (place / "new").rglob(".*") if path.name not in (".lock", ".hydra")]
    shutil.rmtree(place / "new")
    message = re.sub("resume: .*", "resume: python train.py … hydra.run.dir=new", done.stderr)
    check_row(f"{word} while {phase}", done.returncode, message)


EVALUATE, PREDICT = "-m digits evaluate run", "-m digits predict run seven.png"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "moments"),
    [
        (PREDICT, (0.05, 0.3, 1.0)),  # before our first line, during our imports, during torch's
        *(
            pytest.param(command, (0.05, 0.15, 0.3, 0.6, 1.0, 1.6), marks=pytest.mark.long)
            for command in (f"{TRAIN} data=sample", EVALUATE, PREDICT)
        ),
    ],
)
def test_interrupted_during_imports(
    command: str, moments: tuple[float, ...], number: signal.Signals, place: Path
) -> None:
    """At several moments, from before Python runs our first line to after the work is done.

    Until our first line, ``import signal``, has run, Python itself reports an interruption.
    """
    words = shlex.split(command)
    finishes = TRAIN not in command
    whole = run(*words, cwd=place).stdout if finishes else ""
    for seconds in moments:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=place,
            env=environment(),
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        if finishes and not process.returncode:
            assert out == whole, (seconds, out)
            continue
        ours = re.findall(r'File "\S*/(?:train|digits/\w+)\.py", line .*\n +(.*)', err)
        if err.strip().endswith("KeyboardInterrupt"):
            assert ours in ([], ["import signal"]), (seconds, err)
            continue
        if process.returncode == -number and not err:
            continue
        assert process.returncode == 128 + number, (seconds, err)
        assert err.strip().startswith("Interrupted."), (seconds, err)
        assert len(err.strip().splitlines()) == 1
    shutil.rmtree(place / "outputs", ignore_errors=True)


def test_the_table_in_the_docs_has_a_row_for_every_case() -> None:
    """The tests above compare the content of the rows. With WRITE_DOCS=1, write the table."""
    text = DOCS.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    written, _, after = rest.partition(END)
    documented = {command: row for row, command in re.findall(r"^(\| `(.*?)` \| .*)$", written, re.MULTILINE)}
    rows = SEEN if WRITING else documented  # to write them, all other tests must have run before in this process
    table = "".join(
        f"\n### {kind}\n\n{HEAD}" + "".join(f"{rows[command]}\n" for command in commands)
        for kind, commands in TABLES.items()
    )
    if WRITING:
        DOCS.write_text(f"{before}{BEGIN}{table}\n{END}{after}", encoding="utf-8")
    else:
        assert written == f"{table}\n"


def check_row(command: str, code: int, message: str) -> None:
    """Compare a command's exit code and message with its row in the docs; with WRITE_DOCS=1, only keep the row."""
    message = " ".join(message.split())
    for varying in VARYING:
        message = re.sub(varying, "…", message)
    message = message.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    SEEN[command] = f"| `{command}` | {code} | {message} |"
    if not WRITING:
        assert SEEN[command] in DOCS.read_text(encoding="utf-8").splitlines()
