"""What a person sees: log lines that get along with a progress bar, the table of layers, the closing summary."""

import itertools
import logging
import os
import sys
from collections.abc import Sequence

from digits.geometry import Layer


class ScreenHandler(logging.Handler):
    """Prints to what standard output and error are at the moment: a progress bar replaces them to draw around lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: errors to standard error, the rest to standard output."""
        stream = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        try:
            print(self.format(record), file=stream, flush=True)
        except BrokenPipeError:  # nobody reads on, as after `| head`: the work goes on, and the log file has the rest
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.8 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def layer_table(layers: Sequence[Layer]) -> str:
    """A line for every layer, with its output and how that follows, and what it costs; then the sums."""
    rows: list[tuple[str, ...]] = []
    rows.append(("layer", "output", "height and width, or features", "sees", "parameters", "multiply-adds"))
    rows += [
        (
            layer.name,
            "×".join(map(str, layer.shape)),
            layer.formula,
            f"{layer.receptive_field}×{layer.receptive_field}",
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
        )
        for layer in layers
    ]
    sums = (sum(layer.parameters for layer in layers), sum(layer.multiply_adds for layer in layers))
    rows.append(("together", "", "", "", *(f"{number:,}" for number in sums)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "{:<{}}  {:<{}}  {:<{}}  {:>{}}  {:>{}}  {:>{}}"
    return "\n".join(line.format(*itertools.chain(*zip(row, widths, strict=True))) for row in rows)
