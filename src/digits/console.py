"""The terminal: log lines that work beside a progress bar, the layer table, the text of an evaluation."""

import logging
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO, TypeVar

from digits.errors import printable
from digits.model.geometry import Layer

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

MAX_TABLE_WIDTH = 10_000  # characters: wider than any table
MIN_TEXT_WIDTH = 16  # characters; a longer text is folded if the terminal is narrow
TEXT_COLUMNS = ("job", "status", "run", "tags", "notes")


class ScreenHandler(logging.Handler):
    """Prints to the current standard output and error: a progress bar replaces them while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: errors to standard error, the rest to standard output."""
        say(self.format(record), sys.stderr if record.levelno >= logging.ERROR else sys.stdout)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text, to standard output by default; continue if the stream cannot be written."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:  # closed pipe or full disk: continue, train.log has the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def duration(seconds: float) -> str:
    """Format seconds: ``0.8 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def layer_table(layers: Sequence[Layer], width: int | None = None) -> str:
    """Lay out the layers of a network: output, receptive field and cost, with the formula of the size below each.

    Args:
        layers: The layers.
        width: Characters per line; None for the terminal's, or 80 without one.
    """
    columns = width or shutil.get_terminal_size().columns
    room = max(14, min(columns - 46, max(len(layer.name) for layer in layers)))

    def line(name: str, output: str, field: str, parameters: str, multiply_adds: str) -> str:
        return f"{name:<{room}}{output:>10}{field:>11}{parameters:>12}{multiply_adds:>13}".rstrip()

    lines = [line("", "", "receptive", "", "multiply-"), line("layer", "output", "field", "parameters", "adds")]
    for layer in layers:
        name, *more = textwrap.wrap(layer.name, room)
        field = f"{layer.receptive_field}×{layer.receptive_field}"
        costs = f"{layer.parameters:,}", f"{layer.multiply_adds:,}"
        lines += [line(name, "×".join(map(str, layer.shape)), field, *costs), *more]
        lines += textwrap.wrap(layer.formula, columns, initial_indent="  ", subsequent_indent="    ")
    sums = (sum(layer.parameters for layer in layers), sum(layer.multiply_adds for layer in layers))
    return "\n".join([*lines, line("total", "", "", *(f"{number:,}" for number in sums))])


def indented(text: str) -> list[str]:
    """Break a text into indented lines as wide as the terminal, or 80 characters without one."""
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def terminal() -> "Console":
    """The console for rich tables; 200 characters wide if it is not a terminal."""
    from rich.console import Console

    console = Console(markup=False)  # an error message may contain anything
    if not console.is_terminal:
        console.width = 200
    return console


def shows_progress(stream: TextIO) -> bool:
    """Whether to show a progress bar: on a terminal, or in a notebook with ipywidgets, which rich needs there."""
    from rich.console import Console

    return stream.isatty() or (Console().is_jupyter and find_spec("ipywidgets") is not None)


def tracked(items: Iterable[T], text: str, number: int, show: bool) -> Iterable[T]:
    """The items, with a progress bar on standard error if `show` is true."""
    if not show:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, text, total=number, console=Console(stderr=True))


def print_fitting(
    console: "Console",
    title: str | None,
    rows: Sequence[Sequence[str]],
    optional: Sequence[str],
) -> None:
    """Print a table whose first row is the header, without the optional columns that the terminal has no room for."""
    from rich.measure import Measurement
    from rich.table import Table

    columns = list(zip(*rows, strict=True))
    for name in ("", *optional):  # first with all columns
        columns = [column for column in columns if column[0] != name]
        table = Table(title=title, title_justify="left", box=None)
        for header, *_ in columns:
            is_text = header in TEXT_COLUMNS
            table.add_column(
                header, overflow="fold", no_wrap=not is_text, max_width=MIN_TEXT_WIDTH if is_text else None
            )
        for row in list(zip(*columns, strict=True))[1:]:
            table.add_row(*(printable(" ".join(cell.split())) for cell in row))
        if Measurement.get(console, console.options.update(max_width=MAX_TABLE_WIDTH), table).maximum <= console.width:
            break
    for column in table.columns:
        column.max_width = None  # the limit only served to choose the columns
    console.print(table)


@contextmanager
def lightning_silenced() -> Iterator[None]:
    """Silence what Lightning prints at every start, within the block."""
    with warnings.catch_warnings():
        silence_lightning()
        yield


def silence_lightning() -> None:
    """Silence what Lightning prints at every start, for the rest of the process."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)  # it warns when it ends a process
    for message in (
        ".*GPU available but not used.*",  # requested by trainer.accelerator=cpu
        ".*in eval mode at the start of training.*",  # requested by freeze=blocks
        ".*does not have many workers.*",  # the images are in memory; a worker would only copy them
        ".*Total length of `list` across ranks is zero.*",  # with data.val_size=0
        ".*recommended to use `self.log.*sync_dist=True.*",  # torchmetrics sums over the processes
        ".*LeafSpec.* is deprecated.*",  # Lightning itself makes this call, which a newer torch deprecates
    ):
        warnings.filterwarnings("ignore", message)
