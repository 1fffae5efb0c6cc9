"""What a training prints at its end."""

from digits.config import SAMPLE
from digits.console import duration, indented
from digits.evaluation.metrics import interval
from digits.model.spec import DataSpec
from digits.runs.results import Results
from digits.runs.run import Run

FEW_IMAGES = 1_000  # in the test set; the summary shows the interval of a smaller one
SHOWN_FILES = ("*.yaml", "*.csv", "*.json", "train.log", "checkpoints/*.ckpt", "profile", "tensorboard", "wandb")
"""What the summary names in a run directory."""


def summary(results: Results, run: Run, spec: DataSpec) -> str:
    """What a user reads at the end of a training."""
    data = results.dataset
    noun = "digits" if spec.are_digits else "images"
    files = [str(path.relative_to(run.path)) for pattern in SHOWN_FILES for path in sorted(run.path.glob(pattern))]
    low, high = interval(results.test_accuracy, data["test"])
    lines = [
        "",
        f"Test accuracy  {100 * results.test_accuracy:.2f} % of {data['test']:,} {noun}, used once, by epoch "
        f"{results.best_epoch + 1} of {results.epochs}",
    ]
    if data["test"] < FEW_IMAGES:
        lines.append(f"               95 % interval of so few: {100 * low:.1f} to {100 * high:.1f} %")
    if results.val_accuracy is not None:
        lines.append(f"Validation     {100 * results.val_accuracy:.2f} %")
    if results.train_accuracy is not None:
        lines.append(f"Training set   {100 * results.train_accuracy:.2f} %, as it is and without dropout")
    lines.append(
        f"Data set       {data['name']}: {data['train']:,} to train, {data['val']:,} to validate, "
        f"{data['test']:,} to test"
    )
    if data["name"] == SAMPLE:
        lines.append("               A SAMPLE: these results do not compare with those of all of MNIST.")
    lines += [
        f"Time           {duration(results.train_seconds)} training, {duration(results.wall_seconds)} in all",
        f"Everything is in {run.path}:",
        *indented(", ".join(files)),
    ]
    if results.test_accuracy < (2 if spec.are_digits else 1) / len(spec.classes):
        lines.append("That is chance: the network has learned nothing. Try another optimizer.lr, or another seed.")
    return "\n".join(lines)
