"""Checks a composed configuration: the range of every value, and keys that depend on each other."""

import dataclasses
import functools
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_origin, get_type_hints

from annotated_types import Ge, Len
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from digits.config import LATEST, SAMPLE_TRAIN_SIZE, DataConfig, SGDConfig, TrainConfig, TrainerConfig
from digits.errors import UserError, did_you_mean, first_line, shown
from digits.model.geometry import GeometryError, layers

DEVICES: TypeAdapter[Any] = TypeAdapter(
    Annotated[str, Field(pattern=r"^(auto|-1|\d+(,\d+)*)$")]
    | Literal[-1]
    | Annotated[int, Ge(1)]
    | Annotated[list[Annotated[int, Ge(0)]], Len(1)]
)
"""The values of ``trainer.devices`` that Lightning accepts."""


def resolve(cfg: DictConfig | TrainConfig, multirun: bool = False) -> TrainConfig:
    """Check a composed configuration.

    Args:
        cfg: A composed configuration.
        multirun: Whether it belongs to one of several jobs in the same process.

    Returns:
        The configuration as dataclasses, with interpolations resolved and ``data.root`` absolute.

    Raises:
        UserError: For the first wrong key. The message names it, its value and what is allowed.
    """
    if isinstance(cfg, DictConfig):
        cfg = cast(TrainConfig, _to_dataclass(cfg))
    if not isinstance(cfg, TrainConfig):
        raise TypeError(f"expected a composed configuration, got {type(cfg).__name__}")
    check_ranges(cfg)
    _check_devices(cfg.trainer, multirun)
    _check_combinations(cfg)
    try:
        layers(cfg.model.blocks, cfg.model.head)
    except GeometryError as error:
        raise UserError(f"model: {error}") from error
    cfg.data.root = absolute(cfg.data.root or DataConfig.root)  # MNIST_ROOT may be set but empty
    if cfg.start_from and cfg.start_from != LATEST:
        cfg.start_from = absolute(cfg.start_from)
    return cfg


def absolute(path: str) -> str:
    """Resolve a path that a user gives, against the folder in which the command was started."""
    return os.path.abspath(to_absolute_path(os.path.expanduser(path)))


def parse_data(arguments: Mapping[str, Any]) -> DataConfig:
    """Build and check a `DataConfig` from plain values, such as those in a checkpoint.

    Raises:
        UserError: For the first wrong key.
    """
    cfg = cast(DataConfig, _to_dataclass(OmegaConf.structured(DataConfig), arguments))
    check_ranges(cfg, "data.")
    return cfg


def check_ranges(node: Any, prefix: str = "") -> None:
    """Check every value of a dataclass, and of the dataclasses in it, against its annotation.

    Raises:
        UserError: For the first value that is not allowed.
    """
    schema: Any = type(node)
    values = {entry.name: getattr(node, entry.name) for entry in dataclasses.fields(node)}
    try:
        _adapter(schema).validate_python(values)
    except ValidationError as error:
        raise _not_allowed(error, schema, values, prefix) from error
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if dataclasses.is_dataclass(item):
                    check_ranges(item, f"{prefix}{name}.{index}.")


def _not_allowed(error: ValidationError, schema: type, values: Mapping[str, Any], prefix: str) -> UserError:
    """The message for the first wrong field of a dataclass: its value, what is allowed, and its meaning."""
    name = error.errors()[0]["loc"][0]
    errors = [each for each in error.errors() if each["loc"][0] == name]
    if isinstance(given := values[str(name)], int | float):  # of two alternatives, the one of the value's type
        errors = [each for each in errors if type(given).__name__ in str(each["loc"][-1])] or errors
    allowed = " or ".join(dict.fromkeys(each["msg"].replace("Input", "it", 1) for each in errors))
    notes = get_type_hints(schema, include_extras=True)[str(name)].__metadata__
    meaning = "".join(f" ({note})" for note in notes if isinstance(note, str))
    words = re.findall(r"'([^']+)'", allowed)
    key, value = f"{prefix}{name}", values[str(name)]
    hint = did_you_mean(str(value), words, f"{key}=")
    return UserError(f"{key}={shown(value)} is not allowed: {allowed}{meaning}.{hint}")


@functools.cache
def _adapter(schema: type) -> TypeAdapter[Any]:
    """Build the validator of a dataclass's annotated fields."""
    hints = get_type_hints(schema, include_extras=True)
    annotated = {name: hint for name, hint in hints.items() if get_origin(hint) is Annotated}
    fields: Any = TypedDict("fields", annotated)  # type: ignore[misc]  # mypy wants the fields written out
    fields.__pydantic_config__ = {"allow_inf_nan": False}  # type: ignore[attr-defined]
    return TypeAdapter(fields)


def _to_dataclass(*parts: Any) -> Any:
    try:
        return OmegaConf.to_object(OmegaConf.merge(*parts))
    except OmegaConfBaseException as error:
        raise UserError(f"{first_line(error)}.") from error


def _check_devices(trainer: TrainerConfig, multirun: bool) -> None:
    devices = trainer.devices
    try:
        DEVICES.validate_python(devices, strict=True)
    except ValidationError as error:
        raise UserError(
            f"trainer.devices={shown(devices)} is not allowed: it has to be auto, a number of devices (at least 1), "
            "-1 for all, or a list of their indices such as [0,1]."
        ) from error
    if not multirun:
        return
    single_device = devices in (1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not single_device and trainer.strategy != "ddp_spawn":
        raise UserError(
            f"a multirun with trainer.strategy={trainer.strategy} and trainer.devices={shown(devices)} would start the "
            "whole sweep again in each process: use trainer.strategy=ddp_spawn, or trainer.devices=1."
        )
    if trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes} in a multirun would wait forever for the other machines: "
            "use trainer.num_nodes=1, or start each run with torchrun or Slurm."
        )


def _check_combinations(cfg: TrainConfig) -> None:
    if cfg.data.name == "folder" and not cfg.data.root:
        raise UserError("data=folder needs data.root=PICTURES, which has a folder of pictures for each class.")
    if cfg.data.name == "sample" and cfg.data.val_size >= SAMPLE_TRAIN_SIZE:
        raise UserError(
            f"data.val_size={cfg.data.val_size} is not allowed: the sample has {SAMPLE_TRAIN_SIZE} images for training "
            "and validation, so it has to be less."
        )
    if cfg.callbacks.early_stopping and cfg.data.val_size == 0:
        raise UserError(
            "callbacks.early_stopping watches validation metrics, and data.val_size=0 leaves none: "
            "set data.val_size=5000 or callbacks=default."
        )
    if cfg.freeze and not cfg.start_from:
        raise UserError("freeze=blocks keeps the weights of another run: name it with start_from=RUN.")
    if cfg.freeze and not cfg.model.blocks:
        raise UserError("freeze=blocks: this model has no blocks.")
    if cfg.averaging and cfg.trainer.precision in ("16-true", "bf16-true"):
        raise UserError(
            f"averaging adds small changes, which 16-bit weights cannot represent: trainer.precision="
            f"{cfg.trainer.precision} needs averaging=none; bf16-mixed and 16-mixed keep weights in 32 bits."
        )
    if isinstance(cfg.optimizer, SGDConfig) and cfg.optimizer.nesterov and cfg.optimizer.momentum == 0:
        raise UserError("optimizer.nesterov=true needs momentum: set optimizer.momentum=0.9.")
