"""The ``digits`` command: thin, each command a call of one function."""

import importlib.metadata
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from digits import main as training_command
from digits.console import ScreenHandler
from digits.errors import exit_codes

app = typer.Typer(
    help="Reads handwritten digits with a convolutional network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command that the command line names."""
    with exit_codes():
        app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"digits {importlib.metadata.version('digits')}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:
    """Take the options that stand before the command."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ScreenHandler()])
    if debug:
        os.environ["HYDRA_FULL_ERROR"] = "1"


@app.command(
    add_help_option=False,  # --help is Hydra's too, and lists the keys
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> None:
    """Train a network: digits train key=value ..."""
    # The file's own path, since Lightning starts a second process as `python sys.argv[0] ...`.
    sys.argv = [str(training_command.__file__), *context.args]
    sys.modules["__main__"].__spec__ = None  # under `python -m digits`, it would start that instead
    training_command.main()


Root = Annotated[Path, typer.Option(envvar="MNIST_ROOT", help="Folder that holds the files, or receives them.")]
Mirrors = Annotated[
    list[str] | None, typer.Option(help="Address to fetch from, in place of torchvision's; repeatable.")
]
Sweep = Annotated[Path, typer.Argument(help="A sweep's directory, such as multirun/DATE/TIME.")]


@app.command()
def data(root: Root = Path("data"), mirror: Mirrors = None) -> None:
    """Find or fetch MNIST's files, and verify them.

    Prints where each of the four is.
    """
    from digits.data import files

    found = files.obtain(root.expanduser(), mirror)
    for name, path in found.paths.items():
        shape = files.parse_idx(found.contents[name]).shape
        kind = f"{shape[0]:,} images of {shape[1]}×{shape[2]}" if len(shape) == 3 else f"{shape[0]:,} labels"
        print(f"{name:<23}  {kind:<22}  verified  {path}")


@app.command()
def leaderboard(sweep: Sweep) -> None:
    """Compare the jobs of a sweep.

    The table is also written to leaderboard.csv and leaderboard.md in the sweep's directory.
    """
    from digits.leaderboard import leaderboard as compare

    board = compare(sweep)
    board.write()
    board.print()
