"""A trained network, read from a checkpoint: without Lightning, and without running anything that is in the file."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from digits.errors import UserError
from digits.model.geometry import GeometryError, Layer, layers
from digits.model.network import Network, build_network, described

# What comes of a wrong description, and of wrong weights.
DAMAGES = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, GeometryError)
PARTS = ("state_dict", "hyper_parameters")  # of a checkpoint that a network is built from
PREFIX = "network."  # of the network's names among those of the classifier


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint as plain values and tensors.

    Raises:
        UserError: If there is no such file, or it is damaged or none of ours.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is damaged, or of something else")
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed, as torch's are not")  # and may be of any size, unpacked
            if damaged := archive.testzip():  # torch looks at no checksum
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}") from error
    except PermissionError:
        raise  # it may be a good one
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint: it holds more than numbers, and may run code"
        ) from error
    except Exception as error:  # of a dozen kinds, by where the file is damaged
        reason = (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0][:80]
        raise UserError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not (isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in PARTS)):
        raise UserError(f"{path} is not a checkpoint that a training of digits writes")
    if any(str(name).startswith("_") for name in content["hyper_parameters"]):  # by which Lightning calls functions
        raise UserError(f"{path} names a function to call, which no training does")
    return content


def of_no_network(path: Path, error: Exception) -> UserError:
    """What a person is told of a checkpoint from which no network can be built."""
    reason = " ".join(str(error).split())
    return UserError(f"{path} is not a checkpoint of this version's networks: {reason:.200}")


def table(path: Path) -> list[Layer]:
    """The layers of the network in a checkpoint.

    Raises:
        UserError: If there is no such file, or it is damaged or none of ours.
    """
    content = read(path)
    try:
        return layers(*described(content["hyper_parameters"]["model"]))
    except DAMAGES as error:
        raise of_no_network(path, error) from error


def network(path: Path) -> Network:
    """The trained network of a checkpoint, ready to predict, on the CPU.

    Raises:
        UserError: If there is no such file, or it is damaged or none of ours.
    """
    content = read(path)
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes a file claims
            trained = build_network(content["hyper_parameters"]["model"])
        weights = {name.removeprefix(PREFIX): value for name, value in content["state_dict"].items()}
        trained.load_state_dict(weights, assign=True)
        for name, weight in trained.state_dict().items():
            if weight.untyped_storage().nbytes() < weight.nbytes:
                raise RuntimeError(f"{name} claims more values than there are")
            if not weight.isfinite().all():
                raise RuntimeError(f"{name} has values that are no numbers")
    except DAMAGES as error:
        raise of_no_network(path, error) from error
    return trained.eval().float().to(memory_format=torch.channels_last)
