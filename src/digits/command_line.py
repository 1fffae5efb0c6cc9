"""Checks what a person typed before anything slow begins, and says in a line or two what is wrong with it.

Hydra composes the configuration by itself when training starts. It is composed here first, and each override applied
alone, so that a mistake is put down to the words that made it, with what is allowed and what may have been meant.
"""

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser  # the parser that hydra.main itself uses
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits import config
from digits.errors import UserError, did_you_mean

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    type(None): "null",
}


HELP = """\
Train a convolutional network to read handwritten digits.

  python train.py                                       the article's network, 10 epochs
  python train.py trainer.max_epochs=2 optimizer.lr=0.01
  python train.py model=compact trainer.accelerator=gpu
  python train.py -m optimizer.lr=0.1,0.01,0.001        a run for each value, and a leaderboard
  python train.py experiment=article                    a ready-made recipe

Choose one of each (group=option):

{groups}

Keys that people change (key=value), with their defaults:

  seed=0                     of the weights, the order of the images, and dropout
  data.root=data             folder of the MNIST files; MNIST_ROOT sets it too
  data.batch_size=200        images a step
  data.val_size=5000         images kept from training for validation
  optimizer.lr=0.002         learning rate; its peak with scheduler=one_cycle
  trainer.max_epochs=10      passes over the training set
  trainer.accelerator=auto   auto, cpu, gpu, mps
  trainer.devices=1          how many of them; auto takes all
  trainer.precision=auto     auto, 32-true, bf16-mixed, 16-mixed
  label_smoothing=0.0        share of the target spread over all classes
  hydra.run.dir=outputs/…    the run directory; the same command in the same one goes on where it stopped

Options:

  -m                         a run for each of several values (key=a,b,c)
  --cfg job --resolve        print all keys with their values, and train nothing
  --debug                    show where an error came from
  --hydra-help               Hydra's own options
"""


def help_text() -> str:
    """What ``python train.py --help`` prints."""
    lines = []
    for group in sorted(path for path in config.directory().iterdir() if path.is_dir() and path.name != "hydra"):
        options = ", ".join(sorted(file.stem for file in group.glob("*.yaml")))
        lines.append(f"  {group.name:<12} {options}")
    return HELP.format(groups="\n".join(lines))


def in_order(arguments: Sequence[str]) -> list[str]:
    """Overrides last: Hydra's parser takes ``-m`` and other options only in front of them, people put them anywhere."""
    return sorted(arguments, key=lambda word: "=" in word and not word.startswith("-"))


def check(arguments: Sequence[str]) -> None:
    """Check a command line of ``train.py``; print the help and exit if that is what it asks for.

    Args:
        arguments: The words after the program's name.

    Raises:
        UserError: If it asks for something that cannot be.
    """
    args = _parse(arguments)
    if args.help:
        print(help_text(), end="")
        sys.exit()
    if args.hydra_help or args.shell_completion or args.info:
        return
    overrides = _overrides(args.overrides)
    config.register()
    with initialize_config_dir(str(config.directory()), version_base="1.3"):
        choices = [override for override in overrides if _is_choice(override)]
        for choice in choices:
            _check_choice(choice)
        settings = [override for override in overrides if override not in choices]
        hydra_settings = [_words(o) for o in settings if _key(o).startswith("hydra.") and not o.is_sweep_override()]
        if args.config_dir:
            hydra_settings.append(f"hydra.searchpath=[file://{args.config_dir}]")
        try:
            cfg = compose(
                args.config_name or "train",
                [next(_variants(choice)) for choice in choices] + hydra_settings,
                return_hydra_config=True,
            )
        except (HydraException, OmegaConfBaseException) as error:
            words = f"{' '.join(hydra_settings)}: " if hydra_settings else ""
            raise UserError(words + _first_line(error.__cause__ or error)) from error
    multirun = args.multirun or cfg.hydra.mode == RunMode.MULTIRUN
    del cfg.hydra
    for override in settings:
        if not _key(override).startswith("hydra."):
            _apply(cfg, override, multirun)
    checked = config.check(cfg)
    if multirun:
        _check_multirun(checked)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}. Settings are words such as trainer.max_epochs=3; --help lists them.")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(in_order(arguments))
    if args.resolve and not args.cfg:
        raise UserError("--resolve goes with --cfg: python train.py --cfg job --resolve")
    return args


def _overrides(words: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            if "=" not in word:
                raise UserError(f"'{word}' is not a setting; settings have the form key=value.") from error
            reason = _first_line(error)
            raise UserError(f"{word} cannot be read: {reason}. Quote what is special: '{_quoted(word)}'") from error
    return parsed


def _quoted(word: str) -> str:
    name, _, value = word.partition("=")
    return f'{name}="{value}"'


def _words(override: Override) -> str:
    return override.input_line or ""


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _is_choice(override: Override) -> bool:
    """Whether an override chooses a file of a group, such as ``model=compact``."""
    return bool(_options(_key(override))) or "/" in _key(override)


def _options(group: str) -> list[str]:
    found = GlobalHydra.instance().config_loader().get_group_options(group)
    return [option for option in found if not option.startswith("base_")]


def _check_choice(choice: Override) -> None:
    group, options = _key(choice), _options(_key(choice))
    if not options:
        raise UserError(f"there is no group {group}.")
    if choice.is_delete() or choice.is_add():
        raise UserError(f"{_words(choice)}: a group is chosen without + and ~, such as {group}={options[0]}.")
    for variant in _variants(choice):
        option = variant.partition("=")[2]
        if option not in [*options, "null"]:
            near = did_you_mean(option, options, f"{group}=")
            raise UserError(f"there is no {variant}; {group} can be {', '.join(options)}.{near}")


def _variants(override: Override) -> Iterator[str]:
    """The overrides of the jobs that one override of a sweep stands for; itself where it is none."""
    if not override.is_sweep_override():
        yield _words(override)
        return
    key = override.get_key_element()
    for value in override.sweep_string_iterator():
        yield f"{key}={value}"


def _apply(cfg: DictConfig, override: Override, multirun: bool) -> None:
    """Set one override in the composed configuration; of a sweep, each value in turn, checked by itself."""
    key = _key(override)
    _check_key(cfg, key, _words(override))
    if override.is_delete():
        raise UserError(f"{_words(override)}: a key cannot be taken away; set it to another value.")
    if override.is_add() and not override.is_force_add():
        raise UserError(f"{_words(override)}: {key} exists already; write it without the +.")
    if not override.is_sweep_override():
        _set(cfg, key, override.value(), _words(override))
        return
    if not multirun:
        raise UserError(f"{_words(override)} has several values; add -m to run a job for each.")
    for variant in _overrides(list(_variants(override))):
        _set(cfg, key, variant.value(), _words(variant))
        config.check(cfg)


def _set(cfg: DictConfig, key: str, value: Any, words: str) -> None:
    try:
        OmegaConf.update(cfg, key, value, merge=True)
    except OmegaConfBaseException as error:
        inner = str(error.full_key or key)
        _check_key(cfg, inner, words)
        raise UserError(f"{words} is not allowed: {inner} has to be {_expected(cfg, inner)}.") from error


def _check_key(cfg: DictConfig, key: str, words: str) -> None:
    """Refuse a key that the schema does not have."""
    known = list(_known_keys(cfg))
    if key in known:
        return
    parent, _, _ = key.rpartition(".")
    while parent and parent not in known:
        parent, _, _ = parent.rpartition(".")
    if parent and OmegaConf.select(cfg, parent) is None:
        raise UserError(f"{words}: {parent} is off (null); choose one first: {_ways_to_turn_on(parent)}.")
    children = [name.removeprefix(f"{parent}.") for name in known if not parent or name.startswith(f"{parent}.")]
    allowed = ", ".join(name for name in children if "." not in name)
    where = f"{parent} has the keys {allowed}" if parent else f"the keys begin with {allowed}"
    raise UserError(f"there is no key {key} (in {words}); {where}.{did_you_mean(key, known)}")


def _ways_to_turn_on(node: str) -> str:
    """The choices that set a node which is null, such as ``callbacks=early_stopping`` for its node."""
    group, _, option = node.partition(".")
    if option:
        return f"{group}={option}"
    files = sorted((config.directory() / group).glob("*.yaml"))
    return " or ".join(f"{group}={file.stem}" for file in files if file.stem != "none")


def _known_keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none():
        for name in map(str, node):
            yield f"{prefix}{name}"
            yield from _known_keys(node._get_node(name), f"{prefix}{name}.")
    elif isinstance(node, ListConfig) and not node._is_none():
        for index in range(len(node)):
            yield f"{prefix}{index}"
            yield from _known_keys(node._get_node(index), f"{prefix}{index}.")


def _expected(cfg: DictConfig, key: str) -> str:
    """What a key takes, in words: 'a number above 0 (learning rate)'."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    schema = OmegaConf.get_type(node)
    if not dataclasses.is_dataclass(schema):
        return "of another type"
    entry = next(entry for entry in dataclasses.fields(schema) if entry.name == name)
    kind = _kind(typing.get_type_hints(schema)[name])
    rule = entry.metadata.get("rule")
    if rule is None:
        return kind
    allowed = str(rule) if rule.one_of else f"{kind} {rule}".rstrip()
    return f"{allowed} ({rule.meaning})"


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, typing.get_args(hint)))
    if typing.get_origin(hint) is list:
        return f"a list, each of it {_kind(typing.get_args(hint)[0])}"
    return KINDS.get(hint, "a group of keys")


def _check_multirun(cfg: config.TrainConfig) -> None:
    relaunches = cfg.trainer.strategy == "ddp" or (cfg.trainer.strategy == "auto" and cfg.trainer.devices != 1)
    if relaunches:
        raise UserError(
            f"a multirun with trainer.strategy={cfg.trainer.strategy} and trainer.devices={cfg.trainer.devices} would "
            "start the whole sweep again in each process: use trainer.strategy=ddp_spawn, or trainer.devices=1."
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")
