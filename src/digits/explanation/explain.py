"""Shows what a network does with a digit: layers, feature maps, filters, and the importance of pixels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from digits.config import AugmentConfig
from digits.data import sample
from digits.data.augmentation import Augmentation
from digits.errors import UserError
from digits.evaluation.metrics import image_of, read
from digits.explanation import drawing, plots
from digits.model.network import Network, normalise
from digits.model.spec import with_article
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import save, write, writing
from digits.runs.find import Trained

Image = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
Blocks = list[list[tuple[str, Values]]]

AUGMENTED_COPIES = 11  # of each digit
STAGES = {"conv": "convolution", "norm": "normalisation", "activation": "activation", "pool": "pooling"}


def follow(network: Network, image: Image) -> tuple[Blocks, list[tuple[str, Values]]]:
    """Send a digit, (28, 28) uint8, through a network, and keep the output of every layer.

    Returns:
        For each block, the name and output of its layers, (channels, height, width) float32; and name and output of the
        layers after the blocks, (features,) float32, the logits last.
    """
    with torch.no_grad():
        features, blocks, vectors = normalise(torch.from_numpy(image[None].copy()), network.data), [], []
        for block in network.blocks:
            stages = []
            for name, layer in block.named_children():
                features = layer(features)
                stages.append((STAGES[name], features[0].numpy()))
            blocks.append(stages)
        for name, layer in network.head.named_children():
            features = layer(features)
            vectors.append((name, features[0].numpy()))
    return blocks, vectors


def importance(network: Network, image: Image, digit: int) -> Values:
    """How much each pixel speaks for a digit, compared with a blank image, (28, 28) float32.

    Integrated gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365).
    """
    from captum.attr import IntegratedGradients  # imports slowly, and drawings of the data do not need it

    pixels = torch.from_numpy(image[None].copy()).float()
    attributed: Tensor = IntegratedGradients(network).attribute(pixels, target=digit, n_steps=64)  # from a blank image
    return attributed[0].detach().float().numpy()


def pixels_of(trained: Trained, image: Path | None, digit: int | None) -> Image:
    """Prepare a picture for a network, or take an example of a class, (28, 28) uint8.

    Args:
        trained: The network.
        image: A picture.
        digit: Index of a class, instead of a picture: the first such digit of MNIST's sample; for classes that are not
            digits, the first image in the run's test.

    Raises:
        UserError: If the picture cannot be read, or has no digit; or the run has no such example.
    """
    from digits.preparation import inputs  # imports slowly, and the report does not need it

    data = Checkpoint(trained.checkpoint).data
    if image is not None:
        return inputs.prepare(image, data.prepare)
    assert digit is not None, "a picture or a class"
    if digit >= len(data.classes):
        raise UserError(f"--digit {digit}: the network has {len(data.classes)} classes, 0 to {len(data.classes) - 1}.")
    if not data.are_digits:
        evaluation = read(trained.home)
        examples = evaluation.examples if evaluation else []
        if digit >= len(examples) or not examples[digit]:
            raise UserError(f"{trained.home} has no example of a class {digit}; name a picture: --image")
        return image_of(examples[digit])
    images, labels = sample.load()
    first: Image = images[np.flatnonzero(labels == digit)[0]]
    return first


def explain(trained: Trained, pixels: Image) -> Iterator[Path]:
    """Draw what a network does with a digit, into the folder ``explanation`` of its run.

    Args:
        trained: The network.
        pixels: (28, 28) uint8, a digit as in MNIST.

    Yields:
        The files, as they are written.

    Raises:
        UserError: If the network cannot be read, or the folder cannot be written.
    """
    network = Checkpoint(trained.checkpoint).network()
    folder = trained.home / "explanation"
    with writing(folder):
        folder.mkdir(exist_ok=True)
        for name, figure in figures(network, pixels):
            write(folder / f"{name}.png", drawing.png(figure))
            yield folder / f"{name}.png"


def augmentation_of(trained: Trained) -> AugmentConfig | None:
    """The augmentation that a network was trained with.

    Raises:
        UserError: If the checkpoint does not record it.
    """
    from digits.validation import parse_data  # imports Hydra, which the report does not need

    try:
        arguments = dict(Checkpoint(trained.checkpoint).content["datamodule_hyper_parameters"])  # Lightning's name
        del arguments["seed"]
        return parse_data(arguments).augment
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{trained.checkpoint} does not say what it was trained on: {error}") from error


def draw_augmentation(augment: AugmentConfig | None, home: Path) -> Path:
    """Draw digits before and after augmentation, as ``explanation/augmentation.png`` in a folder.

    Raises:
        UserError: If there is no augmentation, or the folder cannot be written.
    """
    if augment is None:
        raise UserError("data.augment is null: there is no augmentation to draw. Try data/augment=affine.")
    images, labels = sample.load()
    before = images[[np.flatnonzero(labels == digit)[0] for digit in range(10)]]
    copies = torch.from_numpy(before).repeat_interleave(AUGMENTED_COPIES, 0)
    after = Augmentation(augment)(copies, torch.Generator().manual_seed(0)).numpy()
    figure = drawing.augmentation(before, after.reshape(len(before), AUGMENTED_COPIES, *before.shape[1:]))
    return save(home / "explanation" / "augmentation.png", drawing.png(figure))


def draw_robustness(accuracies: Mapping[str, Mapping[float, float]], folder: Path) -> Path:
    """Draw the accuracy on corrupted digits, as ``robustness.png`` in a folder.

    Raises:
        UserError: If it cannot be written.
    """
    from digits.evaluation.robustness import CORRUPTIONS

    panels = {f"{name}, {CORRUPTIONS[name].unit}": list(found.items()) for name, found in accuracies.items()}
    return save(folder / "robustness.png", drawing.png(plots.panels("Test accuracy, %", panels)))


def figures(network: Network, image: Image) -> Iterator[tuple[str, Figure]]:
    """All drawings of a digit, (28, 28) uint8, in a network, each with its name."""
    blocks, vectors = follow(network, image)
    classes, probabilities = network.data.classes, torch.from_numpy(vectors[-1][1]).softmax(0)
    answer = int(probabilities.argmax())
    yield "input", drawing.digit(image.astype(np.float32))
    yield "sizes", drawing.sizes(list(_steps(image, blocks, vectors)), probabilities.tolist(), classes)
    for number, stages in enumerate(blocks, start=1):
        yield f"block{number}", drawing.block(number, [(name.capitalize(), maps) for name, maps in stages])
    for name, title, weights in _filters(network):
        yield name, drawing.filters(title, weights)
    title = f"Which pixels made it {with_article(classes[answer])} ({100 * float(probabilities.max()):.1f} %)"
    yield "pixels", drawing.pixels(image.astype(np.float32), importance(network, image, answer), title)


def _steps(image: Image, blocks: Blocks, vectors: Sequence[tuple[str, Values]]) -> Iterator[tuple[str, Values]]:
    """The layers that change the size, and their outputs."""
    yield "input", image[None].astype(np.float32)
    for stages in blocks:
        by_name = dict(stages)
        if "pooling" in by_name:
            yield "convolution", by_name["convolution"]
            yield stages[-1][0] if stages[-1][0] == "pooling" else f"pooling, {stages[-1][0]}", stages[-1][1]
        else:
            yield "convolution", stages[-1][1]
    for name, values in vectors:
        if name != "dropout" and not name.startswith("activation"):
            yield name.replace("hidden", "hidden layer "), values


def _filters(network: Network) -> Iterator[tuple[str, str, Values]]:
    """File name, title and filters of each convolution; without one, the weights of the first layer."""
    blocks: Any = network.blocks  # torch does not type its content
    for number, block in enumerate(blocks, start=1):
        weights = block.conv.weight.detach().numpy()
        filters, channels, height, width = weights.shape
        title = f"Block {number}: {filters} filters of {height}×{width}"
        if channels > 1:
            title += f", for the first of {channels} channels"
        yield f"filters{number}", title, weights[:, 0]
    if not blocks:
        first: Any = next(layer for layer in network.head.children() if hasattr(layer, "weight"))
        yield "filters", "The weights of each unit", first.weight.detach().numpy().reshape(-1, 28, 28)
