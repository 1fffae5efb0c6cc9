"""From the command line to a configuration: Hydra composes it, and a mistake becomes one clear message."""

import argparse
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast, get_args, get_type_hints

import hydra
from hydra._internal.utils import get_args_parser  # the parser of hydra.main
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from digits import config
from digits.config import TrainConfig
from digits.errors import UserError, did_you_mean, first_line, shown

NEXT_HYDRA = not hydra.__version__.startswith("1.3.")
"""Whether Hydra is 1.4 or newer: it warns about ``version_base``, and asks which classes YAML may instantiate."""

EXECUTION_WHITELIST = ["digits.console.*", "digits.checks.*", "digits.sweeps.sweep.*", "hydra_plugins.*"]
"""What Hydra 1.4 may instantiate from YAML: the log handler, the two callbacks, and launchers."""

VERSION_BASE: dict[str, Any] = {} if NEXT_HYDRA else {"version_base": "1.3"}
REPLACE: dict[str, Any] = {"replace": True} if NEXT_HYDRA else {}  # allows storing a schema twice

SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "adam": config.AdamConfig,
    "sgd": config.SGDConfig,
    "rmsprop": config.RMSpropConfig,
    "step": config.StepConfig,
    "cosine": config.CosineConfig,
    "one_cycle": config.OneCycleConfig,
}
for _name, _schema in SCHEMAS.items():
    ConfigStore.instance().store(group="schema", name=_name, node=_schema, provider="digits", **REPLACE)

OPTIONAL = {
    "scheduler": "scheduler=one_cycle",
    "averaging": "averaging=ema",
    "data.augment": "data/augment=affine",
    "callbacks.early_stopping": "callbacks=early_stopping",
    "logger.tensorboard": "logger=tensorboard",
    "logger.wandb": "logger=wandb",
    "logger.mlflow": "logger=mlflow",
}
"""Nodes that may be null, each with an override that sets it."""


BELOW_NULL = re.compile(
    "Unexpected type for root: NoneType|'NoneType' object has no attribute 'get'|because '[^']+' is None"
)
"""OmegaConf's errors for a key below a null node: internal ones in 2.3, a clear message in 2.4."""


def config_directory() -> Path:
    """The folder ``conf/``: beside ``src/`` in a checkout, inside the package in a wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def hydra_main(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """Decorate a function with ``hydra.main``: it is called with ``conf/train.yaml`` composed, once per job."""
    trusted: dict[str, Any] = {"execution_whitelist": EXECUTION_WHITELIST} if NEXT_HYDRA else {}
    main = hydra.main(config_path=str(config_directory()), config_name="train", **VERSION_BASE, **trusted)(function)
    return cast(Callable[[], Any], main)


def initialize_hydra() -> AbstractContextManager[Any]:
    """Let ``hydra.compose`` read ``conf/``."""
    return hydra.initialize_config_dir(str(config_directory()), **VERSION_BASE)


def compose(*overrides: str) -> DictConfig:
    """Compose the configuration that a command line such as ``model=compact optimizer.lr=0.1`` describes.

    Raises:
        UserError: If an override is wrong. `digits.train` checks the ranges of the values.
    """
    if not all(isinstance(word, str) for word in overrides):
        raise UserError("compose takes single overrides, not a list: compose(*overrides).")
    check_keys(overrides)
    with initialize_hydra(), explaining(overrides):
        return hydra.compose("train", null_groups_deleted(overrides))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line with Hydra's own parser.

    Raises:
        UserError: If it does not parse, or an override names an unknown key.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}. Settings look like trainer.max_epochs=3; --help lists them.")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(options_first(arguments))
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(f"--config-dir {args.config_dir} is not a directory.")
    if args.cfg and (args.multirun or args.run):
        raise UserError("--cfg prints one configuration and runs nothing: leave out -m.")
    if args.resolve and not args.cfg:
        raise UserError("--resolve needs --cfg: --cfg job --resolve")
    if not args.shell_completion:
        check_keys(args.overrides)
    return args


def options_first(arguments: Sequence[str]) -> list[str]:
    """Move overrides after the options and their values: Hydra 1.3 does not accept ``-m`` after an override."""
    options = get_args_parser()._option_string_actions
    takes_value = {name for name, action in options.items() if action.nargs is None}
    first: list[str] = []
    last: list[str] = []
    for previous, word in zip(["", *arguments], arguments, strict=False):
        is_override = "=" in word and not word.startswith("-") and previous not in takes_value
        (last if is_override else first).append(word)
    return first + last


def is_sweep(arguments: argparse.Namespace) -> bool:
    """Whether an experiment that the command line chooses is a sweep; Hydra 1.4 runs one only with ``-m``."""
    folders = [config_directory(), *([Path(arguments.config_dir)] if arguments.config_dir else [])]
    chosen = [word.partition("=")[2] for word in arguments.overrides if word.startswith("experiment=")]
    files = [folder / "experiment" / f"{name}.yaml" for folder in folders for name in chosen]
    return any("mode: MULTIRUN" in file.read_text(encoding="utf-8") for file in files if file.is_file())


def null_groups_deleted(overrides: Sequence[str]) -> list[str]:
    """Replace ``scheduler=null`` by ``~scheduler``, with which Hydra deletes a choice."""
    directory = config_directory()
    groups = [word.removesuffix("=null") for word in overrides if word.endswith("=null")]
    deleted = {f"{group}=null": f"~{group}" for group in groups if (directory / group).is_dir()}
    return [deleted.get(word, word) for word in overrides]


def home_expanded(word: str) -> str:
    """Expand ``~`` in a directory that a word names; neither the shell nor Hydra does."""
    named = re.match(r"(hydra\.(?:run|sweep)\.dir=[\"']?|--config-(?:dir|path)=)(~.*)", word)
    return named[1] + os.path.expanduser(named[2]) if named else word


def as_override(key: str, value: Any) -> str:
    """The override ``key=value``, with quotes if Hydra would read the bare text as another value."""
    if not isinstance(value, str):
        return f"{key}={shown(value)}"
    try:
        plain = OverridesParser.create().parse_override(f"{key}={value}").value() == value
    except HydraException:
        plain = False
    return f"{key}={value if plain else QuotedString(text=value, quote=Quote.double).with_quotes()}"


def check_keys(overrides: Sequence[str]) -> None:
    """Refuse a key that no configuration has, before Hydra composes anything.

    Raises:
        UserError: For the first unknown key; the message suggests a similar one.
    """
    keys = list(dict.fromkeys(_keys_of(TrainConfig)))
    for override in overrides:
        key, equals, _ = override.lstrip("+~").partition("=")
        if not equals and not override.startswith("~"):
            raise UserError(f"'{override}' is not a setting; settings have the form key=value.")
        if not key:
            raise UserError(f"{override} has no key; settings have the form key=value.")
        name = re.sub(r"\.\d+(?=\.|$)", ".0", key.partition("@")[0])  # model.blocks.7 is like model.blocks.0
        group = "/" in name or (config_directory() / name).is_dir() or "@" in key
        if not (group or name in keys or name == "hydra" or name.startswith("hydra.")):
            raise UserError(f"unknown key {key} (in {override}); {_keys_beside(name, keys)}.{did_you_mean(key, keys)}")


def _keys_of(schema: type, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a schema and of its subclasses; item 0 stands for all items of a list."""
    for name, hint in get_type_hints(schema).items():
        yield f"{prefix}{name}"
        is_list = "list[" in str(hint)
        if is_list:
            yield f"{prefix}{name}.0"
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                for each in (part, *part.__subclasses__()):
                    yield from _keys_of(each, f"{prefix}{name}.0." if is_list else f"{prefix}{name}.")


def _keys_beside(name: str, keys: Sequence[str]) -> str:
    """The text that lists the valid keys at the level of an unknown one."""
    parent = name.rpartition(".")[0]
    while parent and parent not in keys:
        parent = parent.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    names = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    direct = [each for each in names if "." not in each and each != "_target_"]
    return f"{parent or 'the configuration'} has the keys {', '.join(direct)}"


@contextmanager
def explaining(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's errors for wrong overrides into a `UserError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from error
    except (AssertionError, AttributeError) as error:
        if not BELOW_NULL.search(str(error)):
            raise
        raise explain(error, overrides) from error


def explain(error: Exception, overrides: Sequence[str]) -> UserError:
    """Turn an error of Hydra or OmegaConf into one line that names the override and what is allowed."""
    cause: Any = error.__cause__ or error
    lines = [line.strip() for line in str(error).splitlines()]
    if isinstance(error, OverrideParseException):
        key = error.override.partition("=")[0]
        return UserError(
            f"{error.override} cannot be parsed: a list is written {key}=[1,2], and a value with special characters "
            f"is quoted, '{key}=\"…\"'."
        )
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        hint = did_you_mean(option, error.options, f"{group}=")
        return UserError(f"there is no {group}={option}; {group} can be {', '.join(error.options)}.{hint}")
    if "submitit_" in str(error):
        return UserError("this launcher needs the packages hydra-submitit-launcher and submitit: pip install both.")
    if ambiguous := re.match(r"Ambiguous value for argument '(.+)'", lines[0]):
        return UserError(f"{ambiguous[1]} has several values; add -m to run a job for each.")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and dataclasses.is_dataclass(cause.object_type):
        known = [entry.name for entry in dataclasses.fields(cause.object_type)]
        where = str(cause.full_key).rpartition(".")[0] or "the configuration"
        hint = did_you_mean(str(cause.full_key).rpartition(".")[2], known)
        return UserError(f"unknown key {cause.full_key}; {where} has the keys {', '.join(known)}.{hint}")
    if inside := re.search(r"In '([^']+)'.*Key '\S+' not in '(\w+)'\s+full_key: (\S+)", str(error), re.DOTALL):
        file, schema, key = inside.groups()
        return UserError(f"{file} sets {key}, a key that {schema} does not have: leave out one of the two choices.")
    if BELOW_NULL.search(f"{error} {cause}"):
        for node, choice in OPTIONAL.items():
            if below := [word for word in overrides if word.lstrip("+").startswith((f"{node}.", f"{node}={{"))]:
                return UserError(f"{below[0]}: {node} is null; choose one first, such as {choice}.")
    if merging := re.match(r"Error merging override (.+)", lines[0]):
        key, _, value = merging[1].partition("=")
        choice = key.replace(".", "/")
        if (config_directory() / choice / f"{value}.yaml").exists():
            return UserError(f"{merging[1]}: choose it with a slash, {choice}={value}.")
        return UserError(f"{merging[1]} is not allowed: {first_line(cause)} ({cause.full_key}).")
    return UserError(" ".join(lines[:3]).rstrip(".") + ".")
