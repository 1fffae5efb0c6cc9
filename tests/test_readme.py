"""Every command of the README and of the pages in docs/ is run, and its output is the one shown."""

import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from digits import overrides
from digits.cli import app as cli
from digits.errors import UserError
from digits.validation import resolve

from .helpers import ROOT, TRAIN, environment, gpus, run, run_cold
from .programs import forked_programs

PAGES = ["README.md", *(f"docs/{name}.md" for name in (
    "guide", "configuration", "hydra", "python", "accuracy", "sweeps", "machines", "data", "reliability", "code"
))]  # fmt: skip
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8").partition("## Wrong input")[0] for page in PAGES}
TEXT = "\n".join(TEXTS.values())  # without the table that test_inputs.py checks
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
INLINE = re.findall(r"`(python train\.py (?!--help)[^`…]+|digits explain model=[^`…]+)`", TEXT)
EXAMPLES = re.findall(r"```console\n\$ python train\.py (.*?)\n(.*?)```", TEXT, re.DOTALL)

PRINTED = re.findall(r"```sh\npython train\.py ([^\n]*--(?:cfg|info) [^\n]*)\n```\n\n```\n(.*?)```", TEXT, re.DOTALL)

# These run this test, install its environment, or take minutes and change files.
NOT_RUN_HERE = {"make test", "make test-faults", "make lint", "make format", "make bench", "pip install -e ."}
ON_REAL_MNIST = {"python train.py experiment=article", "python train.py experiment=fast", "digits data",
                 "digits evaluate outputs/mine --data mnist"}  # fmt: skip

# The notebook runs these.
IN_NOTEBOOK = set(re.findall(r"^(?:python|digits) .*", TEXTS["docs/guide.md"], re.MULTILINE)) - set(
    re.findall(r"^(?:python|digits) .*", TEXTS["README.md"], re.MULTILINE)
)


def test_the_pages_are_linked_and_begin_with_their_question() -> None:
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} == set(PAGES[1:])
    readme = TEXTS["README.md"]
    assert len(readme.splitlines()) <= 200
    for page in PAGES[1:]:
        assert f"]({page})" in readme
        assert re.match("# [^\n]+[?]\n", TEXTS[page]), page


def test_links_lead_to_files() -> None:
    for page, text in TEXTS.items():
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert ((ROOT / page).parent / link).is_file(), f"{page}: {link}"


def test_tab_completion_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    (words,) = re.findall(r'`eval "\$\(python train\.py ([^)]+)\)"`', TEXTS["README.md"])
    done = run_cold(TRAIN, *words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "complete " in done.stdout


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) >= 15
    assert set(COMMANDS) >= NOT_RUN_HERE | ON_REAL_MNIST
    assert len(EXAMPLES) == 3
    assert len(PRINTED) == 3
    assert INLINE


def compose_and_check(words: list[str], fails: bool) -> None:
    """Compose and check the overrides of a network. Where `fails` is true, the network must be refused."""
    arguments = [word for word in words if not word.startswith("--")]
    with pytest.raises(UserError, match="no output of size") if fails else contextlib.nullcontext():
        resolve(overrides.compose(*arguments))


@pytest.mark.parametrize("command", COMMANDS + INLINE)
def test_every_command_exists(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if words[:2] == ["python", "train.py"]:
        overrides.parse_arguments(words[2:])
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[:2] == ["digits", "explain"] and "=" in words[2]:
        compose_and_check(words[2:], fails="kernel_size=99" in command)
    elif words[0] == "digits":
        assert words[1] in {command.name or "" for command in cli.app.registered_commands} | {
            getattr(command.callback, "__name__", "") for command in cli.app.registered_commands
        }
    elif words[0] == "make":
        assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert command in NOT_RUN_HERE


@pytest.mark.parametrize(("words", "shown"), EXAMPLES)
def test_an_error_message_is_the_one_shown(words: str, shown: str, tmp_path: Path) -> None:
    done = run_cold(TRAIN, *words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == shown


@pytest.mark.parametrize(("words", "shown"), PRINTED)
def test_the_output_of_a_command_is_the_one_shown(words: str, shown: str, tmp_path: Path) -> None:
    """Line by line, in this order; … stands for lines that are left out."""
    done = run_cold(TRAIN, *words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    for line in shown.splitlines():
        assert line.strip() == "…" or line in lines, line


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with a link to its environment, that trains a small network on few batches.

    Where REPORT is ``false``, it writes no report, which would take longer than the training.
    """
    copy = tmp_path_factory.mktemp("readme")
    for name in ("Makefile", "README.md", "LICENSE", "pyproject.toml", "constraints.txt", "train.py"):
        shutil.copy2(ROOT / name, copy)
        os.utime(copy / name, (0, 0))  # older than what is installed, so that make does not install again
    for name in ("benchmarks", "conf", "docs", "src"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (copy / "conf").rglob("*.yaml"):
        text = re.sub(r"max_epochs: \d+", "max_epochs: 2", file.read_text(encoding="utf-8"))
        text = re.sub(r"^report: true", "report: ${oc.decode:${oc.env:REPORT,true}}", text, flags=re.MULTILINE)
        file.write_text(re.sub("limit_train_batches: 1.0", "limit_train_batches: 10", text), encoding="utf-8")
    article = copy / "conf/model/article.yaml"  # otherwise it has 3 million weights
    small = re.sub(r"channels: \d+", "channels: 4", article.read_text(encoding="utf-8")).replace("[1000]", "[100]")
    article.write_text(small, encoding="utf-8")
    if (ROOT / ".venv").exists():
        (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def compose_from(conf: Path) -> None:
    """Make a forked process compose from a copy of conf/."""
    from digits import overrides

    overrides.config_directory = lambda: conf


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_pages_succeed(checkout: Path) -> None:
    """Run them as written, in order, in one copy, offline on the sample; those that need real MNIST run on it.

    The first command of each kind starts cold, as a user's does. The others are forked and write no report by default.
    """
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # offline even with a network
    offline = {**proxies, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    failed, left_out = {}, []
    started: set[str] = set()
    for command in COMMANDS:
        words = shlex.split(command)
        if command in NOT_RUN_HERE or command in IN_NOTEBOOK:
            continue
        if words[0] == "make" and not (ROOT / ".venv/.installed").exists():
            left_out.append(f"{command} (the environment is not the Makefile's)")
            continue
        env = dict(offline)
        if command in ON_REAL_MNIST:
            if "MNIST_ROOT" not in os.environ:
                left_out.append(f"{command} (MNIST_ROOT is not set)")
                continue
            env["MNIST_ROOT"] = str(Path(os.environ["MNIST_ROOT"]).absolute())
        kind = " ".join(words[:2])
        if kind in started and words[0] != "make" and "joblib" not in command and "benchmarks" not in command:
            program = [TRAIN, *words[2:]] if words[1] == "train.py" else ["-m", *words]
            prepared = partial(compose_from, checkout / "conf")
            done = run(*program, cwd=checkout, timeout=600, prepared=prepared, **env, REPORT="false")
        else:
            cold = environment(**env, PYTHONPATH=str(checkout / "src"))
            done = subprocess.run(words, cwd=checkout, env=cold, capture_output=True, text=True, check=False)
        started.add(kind)
        expected = 2 if "accelerator=gpu" in command and not gpus() else 0
        if done.returncode != expected or "Traceback" in done.stderr or "Exception ignored" in done.stderr:
            failed[command] = done.stderr
    assert not failed

    (program_text,) = re.findall(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL)
    done = run_cold("-c", f"{program_text}\nprint(sum(prediction.probabilities))", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "7"
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(1, abs=1e-5)
    if left_out:
        pytest.skip(f"all others passed; not run: {', '.join(left_out)}")


@pytest.mark.parametrize("name", ["guide", "python"])
def test_a_notebook_matches_its_page(name: str) -> None:
    """docs/notebook.py creates the same cells, and every cell that prints has its output."""
    import nbformat

    path = ROOT / f"notebooks/{name}.ipynb"
    built = runpy.run_path(str(ROOT / "docs/notebook.py"))["build"](TEXTS[f"docs/{name}.md"])
    committed = nbformat.read(path, as_version=4)
    assert [(cell.id, cell.source) for cell in committed.cells] == [(cell.id, cell.source) for cell in built.cells]
    silent = [cell.source for cell in committed.cells if cell.cell_type == "code" and not cell.outputs]
    assert all(source.startswith(("%cd", "for lr in")) for source in silent)
    assert str(ROOT) not in path.read_text(encoding="utf-8")
    for cell in committed.cells:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", cell.source):
            assert (path.parent / link).is_file(), link


def executed(name: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run all cells of a notebook, offline on the sample, and return it."""
    module = runpy.run_path(str(ROOT / "docs/notebook.py"))
    monkeypatch.setenv("PYTHONPATH", str(checkout / "src"))
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    monkeypatch.setenv("REPORT", "false")
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    (checkout / "notebooks").mkdir(exist_ok=True)
    notebook = module["build"](TEXTS[f"docs/{name}.md"])
    with forked_programs(tmp_path, partial(compose_from, checkout / "conf")) as programs:
        places = [programs, Path(sys.executable).parent, os.environ["PATH"]]
        monkeypatch.setenv("PATH", os.pathsep.join(map(str, places)))
        module["execute"](notebook, checkout / "notebooks")
    return notebook


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_guide_notebook_runs(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed("guide", checkout, tmp_path, monkeypatch)
    texts = ["".join(output.get("text", "") for output in cell.get("outputs", ())) for cell in notebook.cells]
    assert "outputs/guide/draw/index.html" in "".join(texts)
    assert not [text for text in texts if "Traceback" in text or "Error: " in text]


@pytest.mark.slow
def test_the_python_notebook_runs(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows tables and progress bars, and nothing goes to standard error."""
    notebook = executed("python", checkout, tmp_path, monkeypatch)
    tables = [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    ]
    assert len(tables) == 4
    assert "val/accuracy" in tables[0]
    assert tables[1].count("\n") == 4  # a header, and a row for each of four runs
    assert "multirun/python/0.02-0" in tables[3]
    bars = json.dumps(notebook.metadata.widgets)
    assert "Epoch 2/2" in bars
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"
    ]
