"""The arguments and options of the commands."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"digits {importlib.metadata.version('digits')}")
        raise typer.Exit


def _path(given: str) -> Path:
    """A path; shells expand ``~`` in ``--output ~/x`` and not in ``--output=~/x``."""
    return Path(given).expanduser()


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]

Root = Annotated[Path, typer.Option(parser=_path, envvar="MNIST_ROOT", help="Folder with the files, or for them.")]
Mirrors = Annotated[
    list[str] | None, typer.Option(help="Address to download from, instead of torchvision's; repeatable.")
]
Sweeps = Annotated[
    list[Path], typer.Argument(metavar="SWEEP...", help="Directories of sweeps, such as multirun/DATE/TIME.")
]
Best = Annotated[bool, typer.Option("--best", help="Print only the run directory of the best job.")]
Copy = Annotated[
    Path | None, typer.Option("--copy", parser=_path, help="With --best: copy that run to this directory.")
]
Board = Annotated[
    Path | None, typer.Option("--output", parser=_path, help="Folder for the files; the sweep's directory by default.")
]
Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Folders to search; outputs and multirun by default.")
]
Tag = Annotated[str | None, typer.Option("--tag", help="Only runs with this word among their tags.")]
Number = Annotated[int, typer.Option("-n", "--number", min=1, help="Largest number of runs.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of every trial.")]
Space = Annotated[str, typer.Option("--space", help="A search space: a file, or a name in conf/search.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Number of trials, instead of the file's.")]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Trainings of each trial, with other seeds; the best one gets fresh seeds."),
]
SearchOutput = Annotated[
    Path, typer.Option("--output", parser=_path, help="Folder of the search; the same again resumes it.")
]
Source = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, or a checkpoint.")]
Sources = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Run directories, `latest`, or checkpoints; several together.")
]
TTA = Annotated[bool, typer.Option("--tta", help="Average over copies of each digit, shifted by a pixel.")]
Robust = Annotated[bool, typer.Option("--robust", help="Also test corrupted digits: shifted, rotated, noisy, …")]
OtherData = Annotated[
    str | None, typer.Option("--data", help="Test on other data of the same classes: mnist, fashion, …, or a folder.")
]
Folder = Annotated[
    Path | None, typer.Option("--output", parser=_path, help="Folder for the files; for a single run, its directory.")
]
Model = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint, or an .onnx file.")]
Pictures = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns; - for standard input.")
]
IsRow = Annotated[bool, typer.Option("--row", help="Read a row of digits, with - / and . between them.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Show = Annotated[bool, typer.Option("--show", help="Draw what was read beside each picture, as FILE.seen.png.")]
Explained = Annotated[
    list[str], typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint; or model=article and such.")
]
ImageFile = Annotated[Path | None, typer.Option("--image", parser=_path, help="A picture of a digit.")]
Digit = Annotated[
    int | None, typer.Option("--digit", min=0, help="Instead of a picture: a digit, or the number of a class.")
]
Augment = Annotated[bool, typer.Option("--augment", help="Draw digits before and after augmentation.")]
Output = Annotated[
    Path | None, typer.Option(parser=_path, help="The file to write; model.onnx in the run directory by default.")
]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits, and measure the loss of accuracy.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
