"""The ``digits`` command: each function parses the options of one command, and calls the package that does the work."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from digits.cli import options as opt
from digits.console import ScreenHandler
from digits.errors import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE, UserError
from digits.signals import Interrupted, importing

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer keeps it

app = typer.Typer(
    help="Reads handwritten digits with a convolutional network.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> int | None:
    """Run the command that the command line names, and return its exit code."""
    try:
        code: int | None = app(prog_name="digits", standalone_mode=False)
    except USAGE_ERROR as error:
        usage_error: Any = error
        name = usage_error.ctx.command_path if usage_error.ctx else "digits"
        text = usage_error.format_message()
        raise UserError(f"{text}{'' if text.endswith(('.', '?')) else '.'} `{name} --help` says more.") from error
    return code


@app.callback(invoke_without_command=True)
def options(context: typer.Context, debug: opt.Debug = False, version: opt.Version = False) -> None:
    """Parse the options before the command; without a command, list the commands."""
    if not context.invoked_subcommand:
        print(context.get_help())
        raise typer.Exit(EXIT_WRONG_USE)
    logging.basicConfig(format="%(message)s", handlers=[ScreenHandler()])
    logging.getLogger("digits").setLevel(logging.INFO)
    if debug:
        os.environ["HYDRA_FULL_ERROR"] = "1"


@app.command(
    add_help_option=False,  # the training command has its own --help, which lists the keys
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> int | None:
    """Train a network: digits train key=value ..."""
    from digits.cli import train as training_command

    # The file's own path, since Lightning starts a second process as `python sys.argv[0] ...`.
    sys.argv = [str(training_command.__file__), *context.args]
    sys.modules["__main__"].__spec__ = None  # under `python -m digits`, Lightning would start that instead
    return training_command.main()


@app.command()
def data(root: opt.Root = Path("data"), mirror: opt.Mirrors = None) -> int:
    """Find or download MNIST's files, and verify them.

    Prints the path of each of the four.
    """
    from digits.data import download

    for line in download.file_lines(download.obtain(root, mirror)):
        print(line)
    return EXIT_DONE


@app.command()
def leaderboard(sweep: opt.Sweeps, best: opt.Best = False, copy: opt.Copy = None, output: opt.Board = None) -> int:
    """Compare the jobs of sweeps: a row per configuration, with mean and standard deviation over its seeds.

    Also writes leaderboard.csv, .md and .json, and plots.
    """
    from digits.sweeps import tables
    from digits.sweeps.leaderboard import rank

    if copy and not best:
        raise UserError("--copy copies the best run: add --best.")
    if output and best:
        raise UserError("--output is for the leaderboard's files, and --best writes none: leave out one of them.")
    board = rank(*sweep, output=output)
    if not best:
        tables.print_table(board, tables.write_files(board))
        return EXIT_DONE
    if copy:
        tables.copy_best(board, copy)
    if board.by_test:
        print(tables.BY_TEST, file=sys.stderr)
    print(copy or board.best().run.path)
    return EXIT_DONE


@app.command()
def runs(folders: opt.Folders = None, tag: opt.Tag = None, number: opt.Number = 20) -> int:
    """List all runs, newest first, with their results, tags and notes."""
    from digits.runs.find import list_runs
    from digits.runs.listing import print_runs

    found = list_runs(folders or [], tag)
    if found:
        print_runs(found[:number])
    else:
        print("There are no runs here; train: digits train")
    if len(found) > number:
        print(f"and {len(found) - number} more: --number {len(found)}")
    return EXIT_DONE


@app.command()
def search(
    overrides: opt.Overrides = None,
    space: opt.Space = "default",
    trials: opt.Trials = None,
    seeds: opt.Seeds = None,
    output: opt.SearchOutput = Path("multirun/search"),
) -> int:
    """Search for good hyperparameters, such as digits search model=compact trainer.max_epochs=3.

    Optuna chooses them and stops trials that fall behind; every trial is a run directory. Ends with the leaderboard,
    the importance of each key, and the best trial as an experiment. The same command resumes the search, and several
    processes can share it.
    """
    with importing():
        from digits.sweeps import best_trial, search, tables
        from digits.sweeps.leaderboard import rank
        from digits.sweeps.study import importances

    common, cfg = overrides or [], search.read(os.path.expanduser(space))
    cfg.trials, cfg.seeds = trials or cfg.trials, seeds or cfg.seeds
    try:
        study = search.search(cfg, common, output)
    except Interrupted as interruption:
        interruption.advice = "The same command resumes the search."
        raise
    board = rank(output)
    importance_by_key = importances(study)
    tables.print_table(board, [*tables.write_files(board), *tables.write_importance(output, importance_by_key)])
    if importance_by_key:
        texts = [f"{key} {100 * fraction:.0f} %" for key, fraction in importance_by_key.items()]
        print(f"Importance after the first epoch: {', '.join(texts)}")
    if not (experiment := best_trial.write_experiment(study, common, output)):
        return EXIT_FAILED
    if cfg.seeds > 1 and (fresh := best_trial.train_winner(study, cfg, common, output)):
        print(best_trial.fresh_text(study, cfg.seeds, fresh))
    print(f"The best trial as an experiment: {experiment}")
    print(f"  digits train --config-dir {shlex.quote(str(output))} experiment=best")
    return EXIT_DONE


@app.command()
def evaluate(
    runs: opt.Sources,
    tta: opt.TTA = False,
    robust: opt.Robust = False,
    data: opt.OtherData = None,
    output: opt.Folder = None,
) -> int:
    """Test a network again: each digit, the confusion matrix, calibration, the worst errors.

    Also writes evaluation.json into the run directory. Of several networks, averages the probabilities.
    """
    from digits.runs.find import find_each
    from digits.runs.run import Run

    trained = find_each(runs)
    with importing():
        from digits.evaluation import robustness
        from digits.evaluation.evaluate import measure, open_test
        from digits.evaluation.text import evaluation_text
        from digits.model.inference import best_device

        if robust:
            from digits.explanation.explain import draw_robustness

    is_own_test = len(trained) == 1 and not tta and data is None
    folder = output or (trained[0].home if is_own_test else None)
    if (
        folder
        and Run(folder).results_file.exists()
        and not (is_own_test and folder.resolve() == trained[0].home.resolve())
    ):
        raise UserError(f"--output {folder} is a run directory with an evaluation.json of its own; name another one.")
    network, test = open_test(trained, tta, data)
    evaluation = measure(network, test, best_device())
    print(evaluation_text(evaluation))
    written = []
    if folder:
        written.append(evaluation.write(folder))
    if robust:
        accuracies = robustness.measure(network, test.digits)
        print(f"\n{robustness.table(accuracies)}")
        if folder:
            written += [robustness.write(accuracies, folder), draw_robustness(accuracies, folder)]
    print(f"\nWritten to {', '.join(map(str, written))}" if folder else "\n--output FOLDER saves this.")
    return EXIT_DONE


@app.command()
def predict(
    run: opt.Model,
    images: opt.Pictures,
    row: opt.IsRow = False,
    json: opt.Json = False,
    csv: opt.Csv = False,
    show: opt.Show = False,
) -> int:
    """Read the digit in pictures: PNG, JPEG, WebP, BMP, GIF, TIFF.

    One digit per picture, or with --row a row of digits, anywhere and of any size, dark on light or light on dark. The
    status is read; unsure if two digits are likely; unfamiliar if it is perhaps not a digit; no digit if there is none,
    or there are several; or failed, and then the exit code is 1.
    """
    from digits.cli import predict as command

    if json and csv:
        raise UserError("--json and --csv: choose one.")
    return command.predict(run, images, "json" if json else "csv" if csv else "table", show, row)


@app.command()
def explain(
    run: opt.Explained, image: opt.ImageFile = None, digit: opt.Digit = None, augment: opt.Augment = False
) -> int:
    """Show a network's layers, and what they do to a digit.

    Prints the layer table with each formula worked out. With --image or --digit, draws the feature maps of every
    layer, the filters, and the importance of pixels, into the folder explanation of the run; with --augment, the
    augmentation of its training. docs/guide.md explains what they show.
    """
    from digits.cli import explain as command

    if image is not None and digit is not None:
        raise UserError("--image and --digit: choose one.")
    command.explain(run, image, digit, augment)
    return EXIT_DONE


@app.command()
def report(run: opt.Source) -> int:
    """Write report/index.html into a run directory: everything about the run on one page.

    The page loads nothing else.
    """
    from digits.runs.find import find

    with importing():
        from digits.explanation.report import write

    print(f"Written to {write(*find(run).finished_run())}")
    return EXIT_DONE


@app.command()
def draw(run: opt.Source, browse: opt.Open = False) -> int:
    """Write draw/index.html: a page on which the network reads what you draw, and shows every number.

    With callbacks.checkpoint.every_epoch=true in the training, it also shows how the network learned.
    """
    from digits.runs.find import find

    with importing():
        from digits.explanation.draw import write

    path = write(find(run))
    print(f"Written to {path}")
    if browse and typer.launch(str(path)):
        raise UserError(f"no browser was found; open {path} in one.")
    return EXIT_DONE


@app.command()
def export(run: opt.Source, output: opt.Output = None, int8: opt.Int8 = False) -> int:
    """Export a network to ONNX, and compare it with torch.

    It takes uint8 (batch, 28, 28), bright strokes on 0, and returns probabilities (batch, classes), and how familiar
    each image is (batch,).
    """
    from digits.runs.find import find

    trained = find(run)
    with importing():
        from digits.explanation.export import export as write

    print(write(trained, output, int8))
    return EXIT_DONE
