"""The ``digits`` command: thin, each command a call of one function."""

import importlib.metadata
import io
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from digits.console import ScreenHandler, evaluation_text
from digits.errors import EXIT_FAILED, EXIT_WRONG_USE, UserError, printable
from digits.runs.files import writing
from digits.signals import Interrupted, exit_codes, importing

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer keeps it

app = typer.Typer(
    help="Reads handwritten digits with a convolutional network.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command that the command line names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what an encoding does not
    with exit_codes():
        try:
            sys.exit(app(prog_name="digits", standalone_mode=False))
        except USAGE_ERROR as error:
            wrong: Any = error
            called = wrong.ctx.command_path if wrong.ctx else "digits"
            told = wrong.format_message()
            raise UserError(f"{told}{'' if told.endswith(('.', '?')) else '.'} `{called} --help` says more.") from error


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"digits {importlib.metadata.version('digits')}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback(invoke_without_command=True)
def options(context: typer.Context, debug: Debug = False, version: Version = False) -> None:
    """Take the options that stand before the command; without one, say which there are."""
    if not context.invoked_subcommand:
        print(context.get_help())
        raise typer.Exit(EXIT_WRONG_USE)
    logging.basicConfig(format="%(message)s", handlers=[ScreenHandler()])
    logging.getLogger("digits").setLevel(logging.INFO)
    if debug:
        os.environ["HYDRA_FULL_ERROR"] = "1"


@app.command(
    add_help_option=False,  # --help is Hydra's too, and lists the keys
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> None:
    """Train a network: digits train key=value ..."""
    from digits.cli import train as training_command

    # The file's own path, since Lightning starts a second process as `python sys.argv[0] ...`.
    sys.argv = [str(training_command.__file__), *context.args]
    sys.modules["__main__"].__spec__ = None  # under `python -m digits`, it would start that instead
    training_command.main()


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


@app.command()
def data(root: Root = Path("data"), mirror: Mirrors = None) -> None:
    """Find or fetch MNIST's files, and verify them.

    Prints where each of the four is.
    """
    from digits.data import download as files

    found = files.obtain(root.expanduser(), mirror)
    for name, path in found.paths.items():
        shape = files.parse_idx(found.contents[name]).shape
        kind = f"{shape[0]:,} images of {shape[1]}×{shape[2]}" if len(shape) == 3 else f"{shape[0]:,} labels"
        print(f"{name:<23}  {kind:<22}  verified  {path}")


@app.command()
def leaderboard(sweep: Sweeps, best: Best = False, copy: Copy = None, output: Board = None) -> None:
    """Compare the jobs of sweeps: a row for each configuration, with mean and standard deviation over its seeds.

    Also written as leaderboard.csv, .md and .json, with plots beside them.
    """
    from digits.sweeps import tables as comparison
    from digits.sweeps.leaderboard import leaderboard as compare

    if copy and not best:
        raise UserError("--copy hands over the best run: add --best.")
    if output and best:
        raise UserError("--output is where the leaderboard's files go, and --best writes none: leave one of them out.")
    board = compare(*sweep, output=output)
    if not best:
        comparison.print_table(board, comparison.write_files(board))
        return
    if copy:
        comparison.copy_best(board, copy)
    if board.by_test:
        print(comparison.BY_TEST, file=sys.stderr)
    print(copy or board.best().run.path)


Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Where to look; outputs and multirun by default.")
]
Tag = Annotated[str | None, typer.Option("--tag", help="Only runs with this word among their tags.")]
Number = Annotated[int, typer.Option("-n", "--number", min=1, help="How many at most.")]


@app.command()
def runs(folders: Folders = None, tag: Tag = None, number: Number = 20) -> None:
    """List the runs there are, newest first, with their results, tags and notes."""
    from digits.runs.find import find_runs
    from digits.sweeps import tables as comparison

    found = find_runs(folders or [], tag)
    if not found:
        print("There are no runs here; train: digits train")
        return
    comparison.print_runs(found[:number])
    if len(found) > number:
        print(f"and {len(found) - number} more: --number {len(found)}")


Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of every trial.")]
Space = Annotated[str, typer.Option("--space", help="A file of what to search, or the name of one in conf/search.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Trials in all, in place of the file's number.")]
SearchOutput = Annotated[Path, typer.Option("--output", help="Where the search is; the same again goes on with it.")]


@app.command()
def search(
    words: Words = None, space: Space = "default", trials: Trials = None, output: SearchOutput = Path("multirun/search")
) -> None:
    """Search for good hyperparameters, such as digits search model=compact trainer.max_epochs=3.

    Optuna chooses them, trials that fall behind are given up, and every trial is a run directory. Ends with the
    leaderboard, how much each key mattered, and the best trial as an experiment. Started again, or several times at
    once, it goes on with the same search.
    """
    with importing():
        from digits.sweeps import search
        from digits.sweeps import study as journal
        from digits.sweeps import tables as comparison
        from digits.sweeps.leaderboard import leaderboard as compare

    settings, cfg = words or [], search.read(space)
    cfg.trials = trials or cfg.trials
    try:
        study = search.search(cfg, settings, output)
    except Interrupted as interruption:
        interruption.advice = "The same command goes on with the search."
        raise
    board = compare(output)
    mattered = journal.importances(study)
    comparison.print_table(board, [*comparison.write_files(board), *comparison.write_importance(output, mattered)])
    if mattered:
        print(
            "What mattered, after the first epoch: "
            + ", ".join(f"{key} {100 * share:.0f} %" for key, share in mattered.items())
        )
    if experiment := search.write_experiment(study, settings, output):
        command = f"python train.py --config-dir {shlex.quote(str(output))} experiment=best"
        print(f"The best trial as an experiment: {experiment}\n  {command}")
    else:
        raise typer.Exit(EXIT_FAILED)


Source = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, or a checkpoint.")]
Sources = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Run directories, `latest`, or checkpoints; several together.")
]
TTA = Annotated[bool, typer.Option("--tta", help="Look at copies of each digit, shifted by a pixel, as well.")]
Robust = Annotated[bool, typer.Option("--robust", help="Test changed digits too: moved, turned, thicker, noisy, …")]
Folder = Annotated[
    Path | None, typer.Option("--output", help="Folder for the files; the run directory for one run as it is.")
]


@app.command()
def evaluate(runs: Sources, tta: TTA = False, robust: Robust = False, output: Folder = None) -> None:
    """Test a network anew: each digit, the confusion matrix, calibration, the worst errors.

    Also written to evaluation.json in the run directory. Of several, the probabilities are averaged.
    """
    from digits.runs.find import find
    from digits.runs.run import Run

    trained = [find(run) for run in runs]
    for number, one in enumerate(trained):
        if any(one.checkpoint.samefile(other.checkpoint) for other in trained[:number]):
            raise UserError(f"{runs[number]} is given twice, and would count twice.")
    with importing():
        from digits.evaluation import robustness
        from digits.evaluation.evaluate import best_device, measure, open_test
        from digits.explanation.explain import draw_robustness

    alone = len(trained) == 1 and not tta
    folder = output or (trained[0].home if alone else None)
    if folder and Run(folder).results_file.exists() and not (alone and folder.resolve() == trained[0].home.resolve()):
        raise UserError(f"--output {folder} is a run, whose evaluation is of it alone: name another folder.")
    network, test_data = open_test(trained, tta)
    evaluation = measure(network, test_data, best_device())
    print(evaluation_text(evaluation))
    written = []
    if folder:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        written.append(evaluation.write(folder))
    if robust:
        accuracies = robustness.measure(network, test_data.test_set())
        print(f"\n{robustness.table(accuracies)}")
        if folder:
            written += [robustness.write(accuracies, folder), draw_robustness(accuracies, folder)]
    print(f"\nWritten to {', '.join(map(str, written))}" if folder else "\n--output FOLDER keeps this.")


Model = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint, or an .onnx file.")]
Pictures = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns; - for standard input.")
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Show = Annotated[
    bool, typer.Option("--show", help="Save what the network saw of each picture beside it, as FILE.seen.png.")
]


@app.command()
def predict(run: Model, images: Pictures, json: Json = False, csv: Csv = False, show: Show = False) -> None:
    """Read the digit in pictures: PNG, JPEG, WebP, BMP, GIF, TIFF.

    One digit a picture, anywhere in it and of any size, dark on light or light on dark. Each is read, or unsure if no
    digit has 60 %, or has no digit, or several, or failed: then the exit code is 1, and the others are read.
    """
    from digits.prediction import answers, pictures
    from digits.prediction import predict as prediction

    if json and csv:
        raise UserError("--json and --csv: choose one.")
    # The network computes for a moment at a time: its threads shall not spin on the cores that decode meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    printed = answers.as_json if json else answers.as_csv if csv else answers.as_table
    found = pictures.find(images)
    failed = 0
    with pictures.prepare(found) as prepared:
        reader = prediction.load(run)
        with printed() as write:
            for answer in pictures.track(pictures.read(reader, prepared), len(found)):
                write(answer)
                told = answer.note if answer.status == pictures.FAILED else ""
                if show and answer.image is not None:
                    try:
                        pictures.show(answer)
                    except UserError as error:
                        told = str(error)
                if told:
                    failed += 1
                    print(f"Failed: {printable(answer.picture)}: {told}", file=sys.stderr)
    if failed:
        raise typer.Exit(EXIT_FAILED)


Explained = Annotated[
    list[str], typer.Argument(metavar="RUN", help="A run directory, `latest`, a checkpoint; or model=article and such.")
]
ImageFile = Annotated[Path | None, typer.Option("--image", help="A picture of a digit to draw the network's way with.")]
Digit = Annotated[int | None, typer.Option("--digit", min=0, max=9, help="Take a digit of MNIST's instead.")]
Augment = Annotated[bool, typer.Option("--augment", help="Draw digits before and after augmentation.")]


@app.command()
def explain(run: Explained, image: ImageFile = None, digit: Digit = None, augment: Augment = False) -> None:
    """Show a network's layers, and what they make of a digit.

    Prints the table of layers with the formula worked out. With --image or --digit, draws the feature maps of every
    layer, the filters, and the pixels that mattered, into the folder explanation of the run; with --augment, how its
    training changed digits.
    """
    from digits.explanation import explain as explanation
    from digits.runs.find import find

    drawing = image is not None or digit is not None
    if image is not None and digit is not None:
        raise UserError("--image and --digit: choose one.")
    if "=" in run[0] and not os.path.exists(run[0]):
        if drawing:
            raise UserError(f"{' '.join(run)} is no trained network to draw; name a run.")
        cfg = explanation.configuration(run)
        print(explanation.table_of_configuration(cfg))
        if augment:
            print(f"Drawn: {explanation.draw_augmentation(cfg.data.augment, Path())}")
        return
    if len(run) > 1:
        raise UserError(f"explain takes one run, not {len(run)}: {' '.join(run)}")
    trained = find(run[0])
    pixels = explanation.pixels_of(image, digit) if drawing else None
    print(explanation.table_of(trained))
    if pixels is not None:
        for path in explanation.explain(trained, pixels):
            print(f"Drawn: {path}")
    if augment:
        print(f"Drawn: {explanation.draw_augmentation(explanation.augmentation_of(trained), trained.home)}")


@app.command()
def report(run: Source) -> None:
    """Write report/index.html into a run directory: everything about the run on one page.

    It needs no network, and nothing but the file.
    """
    from digits.runs.find import find

    with importing():
        from digits.explanation.report import write

    print(f"Written to {write(*find(run).finished_run())}")


Output = Annotated[Path | None, typer.Option(help="The file to write; model.onnx in the run directory by default.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits, and tell what accuracy that costs.")]


@app.command()
def export(run: Source, output: Output = None, int8: Int8 = False) -> None:
    """Write a network as ONNX, and check it against torch.

    It takes uint8 (batch, 28, 28), bright strokes on 0, and gives probabilities (batch, 10).
    """
    from digits.runs.find import find

    trained = find(run)
    with importing():
        from digits.explanation.export import export as write

    print(write(trained, output, int8))
