"""Starts a training from the weights of another one."""

import logging
from pathlib import Path

from torch import nn

from digits.config import TrainConfig
from digits.errors import UserError
from digits.model.network import Network
from digits.runs.checkpoint import Checkpoint
from digits.runs.start_from import checksum

log = logging.getLogger(__name__)

LAST = "head.classes"  # the layer whose outputs are the classes


def load_weights(network: Network, cfg: TrainConfig) -> None:
    """Copy the weights of ``start_from`` into a new network, layer by layer, wherever a layer fits.

    The last layer fits only if its classes are the same; layers that do not fit keep their random weights.

    Raises:
        UserError: If the checkpoint has changed or does not exist, no layer fits, or ``freeze`` would keep random
            weights.
    """
    path = Path(str(cfg.start_from))
    if not path.exists() or checksum(path) != cfg.start_sha256:
        raise UserError(
            f"start_from={path} has changed or was deleted since this run began; "
            "start a new run in another hydra.run.dir."
        )
    origin = Checkpoint(path).network()
    theirs = _layers(origin)
    if origin.data.classes != network.data.classes:
        theirs.pop(LAST, None)
    fresh = []
    ours = _layers(network)
    for name, layer in ours.items():
        if name in theirs and _shapes(theirs[name]) == _shapes(layer):
            layer.load_state_dict(theirs[name].state_dict())
        else:
            fresh.append(name)
    if len(fresh) == len(ours):
        raise UserError(f"start_from={path}: no layer of its network fits; choose the model that it has.")
    if cfg.freeze and (random := [name for name in fresh if name.startswith("blocks.")]):
        raise UserError(f"freeze=blocks would keep random weights: {random[0]} is not in start_from={path}.")
    rest = f"; {', '.join(fresh)} start{'s' if len(fresh) == 1 else ''} fresh" if fresh else ""
    log.info("Starts from %s: %d of %d layers are copied%s.", path, len(ours) - len(fresh), len(ours), rest)


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that have weights."""
    return {name: layer for name, layer in network.named_modules() if layer.state_dict() and not [*layer.children()]}


def _shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in layer.state_dict().items()}
