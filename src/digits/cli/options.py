"""The arguments and options of the commands."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"digits {importlib.metadata.version('digits')}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]

Root = Annotated[Path, typer.Option(envvar="MNIST_ROOT", help="Folder that holds the files, or receives them.")]
Mirrors = Annotated[
    list[str] | None, typer.Option(help="Address to fetch from, in place of torchvision's; repeatable.")
]
Sweeps = Annotated[
    list[Path], typer.Argument(metavar="SWEEP...", help="Directories of sweeps, such as multirun/DATE/TIME.")
]
Best = Annotated[bool, typer.Option("--best", help="Print nothing but the run directory of the best job.")]
Copy = Annotated[Path | None, typer.Option("--copy", help="With --best: copy that run to this directory.")]
Board = Annotated[Path | None, typer.Option("--output", help="Where the files go; the sweep's directory by default.")]
Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Where to look; outputs and multirun by default.")
]
Tag = Annotated[str | None, typer.Option("--tag", help="Only runs with this word among their tags.")]
Number = Annotated[int, typer.Option("-n", "--number", min=1, help="How many at most.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of every trial.")]
Space = Annotated[str, typer.Option("--space", help="A file of what to search, or the name of one in conf/search.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Trials in all, in place of the file's number.")]
SearchOutput = Annotated[Path, typer.Option("--output", help="Where the search is; the same again goes on with it.")]
Source = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, or a checkpoint.")]
Sources = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Run directories, `latest`, or checkpoints; several together.")
]
TTA = Annotated[bool, typer.Option("--tta", help="Look at copies of each digit, shifted by a pixel, as well.")]
Robust = Annotated[bool, typer.Option("--robust", help="Test changed digits too: moved, turned, thicker, noisy, …")]
Folder = Annotated[
    Path | None, typer.Option("--output", help="Folder for the files; the run directory for one run as it is.")
]
Model = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint, or an .onnx file.")]
Pictures = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns; - for standard input.")
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Show = Annotated[
    bool, typer.Option("--show", help="Save what the network saw of each picture beside it, as FILE.seen.png.")
]
Explained = Annotated[
    list[str], typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint; or model=article and such.")
]
ImageFile = Annotated[Path | None, typer.Option("--image", help="A picture of a digit to draw the network's way with.")]
Digit = Annotated[int | None, typer.Option("--digit", min=0, max=9, help="Take a digit of MNIST's instead.")]
Augment = Annotated[bool, typer.Option("--augment", help="Draw digits before and after augmentation.")]
Output = Annotated[Path | None, typer.Option(help="The file to write; model.onnx in the run directory by default.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits, and tell what accuracy that costs.")]
