"""Reads and verifies a checkpoint once, without Lightning and without running code from the file."""

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from digits.errors import UserError
from digits.model.familiarity import RatedNetwork, restored
from digits.model.geometry import Layer, layers
from digits.model.network import Network, build_network, parse_model
from digits.model.spec import DataSpec, parse_spec

PARTS = ("state_dict", "hyper_parameters")
STATISTICS = "familiarity"  # key in the best checkpoint of a finished training
NETWORK_PREFIX = "network."  # of the names of the network's weights in the classifier


class Checkpoint:
    """The content of a checkpoint file.

    Args:
        path: The file.

    Attributes:
        path: The file.
        content: Plain values and tensors, on the CPU.

    Raises:
        UserError: If there is no such file, it is damaged, or no training of digits wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = _read(path)

    @property
    def data(self) -> DataSpec:
        """The classes and the pixels of its data.

        Raises:
            UserError: If they are not possible.
        """
        with self._refusing():
            return parse_spec(self.content["hyper_parameters"].get("data"))

    def layers(self) -> list[Layer]:
        """The layers of its network.

        Raises:
            UserError: If they cannot be built.
        """
        with self._refusing():
            return layers(*parse_model(self.content["hyper_parameters"]["model"]), len(self.data.classes))

    def network(self) -> Network:
        """Its trained network in evaluation mode, float32, on the CPU.

        Raises:
            UserError: If it cannot be built.
        """
        parameters = self.content["hyper_parameters"]
        with self._refusing():
            with torch.device("meta"):  # takes no memory, whatever sizes a file claims
                network = build_network(parameters["model"], parameters.get("data"))
            weights = {
                name.removeprefix(NETWORK_PREFIX): value
                for name, value in self.content["state_dict"].items()
                if name.startswith(NETWORK_PREFIX)
            }
            network.load_state_dict(weights, assign=True)
            for name, weight in network.state_dict().items():
                if weight.untyped_storage().nbytes() < weight.nbytes:
                    raise RuntimeError(f"{name} claims more values than there are")
                if not weight.isfinite().all():
                    raise RuntimeError(f"{name} has values that are not finite")
        return network.eval().float().to(memory_format=torch.channels_last)

    def rated(self) -> RatedNetwork:
        """The same network, which also rates how familiar an image is; without statistics, thresholds are defaults.

        Raises:
            UserError: If it cannot be built.
        """
        network = self.network()
        with self._refusing():
            return restored(network, self.content.get(STATISTICS)).eval()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise a UserError if the description of the model or the weights are wrong."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.path} is not a checkpoint of this version's networks: {reason:.200}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is damaged, or not a checkpoint")
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed, as torch's are not")  # it may unpack to any size
            if damaged := archive.testzip():  # torch does not check the checksums
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}") from error
    except PermissionError:
        raise  # the file may be fine
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint: it holds more than numbers, and may run code"
        ) from error
    except Exception as error:  # torch raises many kinds, depending on the damage
        reason = (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0][:80]
        raise UserError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not (isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in PARTS)):
        raise UserError(f"{path} is not a checkpoint that a training of digits writes")
    if any(str(name).startswith("_") for name in content["hyper_parameters"]):  # Lightning would call functions
        raise UserError(f"{path} names a function to call, which no training does")
    return content
