"""``digits explain``: prints the layers of a network, and draws what they do to a digit."""

import os
from collections.abc import Sequence
from pathlib import Path

from digits.console import layer_table
from digits.errors import UserError
from digits.model.geometry import layers
from digits.runs.find import find
from digits.signals import importing


def explain(named: Sequence[str], image: Path | None, digit: int | None, augment: bool) -> None:
    """Print the layer table, and draw what is asked for.

    Args:
        named: A run, or overrides of a configuration.
        image: A picture to follow through the network.
        digit: Index of a class; an example of it is followed instead.
        augment: Whether to draw the augmentation of the training.

    Raises:
        UserError: If the run or the configuration is wrong, or a drawing needs a trained network.
    """
    is_drawn = image is not None or digit is not None
    if "=" in named[0] and not os.path.exists(named[0]):
        if is_drawn:
            raise UserError(f"{' '.join(named)} is not a trained network to draw; name a run.")
        from digits.overrides import compose
        from digits.validation import resolve

        cfg = resolve(compose(*named))
        print(layer_table(layers(cfg.model.blocks, cfg.model.head)))
        if augment:
            with importing():
                from digits.explanation.explain import draw_augmentation
            print(f"Drawn: {draw_augmentation(cfg.data.augment, Path())}")
        return
    if len(named) > 1:
        raise UserError(f"explain takes one run, not {len(named)}: {' '.join(named)}")
    trained = find(named[0])
    with importing():
        from digits.runs.checkpoint import Checkpoint

        if is_drawn or augment:
            from digits.explanation import explain as explanation

    pixels = explanation.pixels_of(trained, image, digit) if is_drawn else None
    print(layer_table(Checkpoint(trained.checkpoint).layers()))
    if pixels is not None:
        for path in explanation.explain(trained, pixels):
            print(f"Drawn: {path}")
    if augment:
        print(f"Drawn: {explanation.draw_augmentation(explanation.augmentation_of(trained), trained.home)}")
