"""Checks what a person typed before anything slow begins, and says in a line or two what is wrong with it.

Hydra composes the configuration by itself when training starts. It is composed here first, and each override applied
alone, so that a mistake is put down to the words that made it, with what is allowed and what may have been meant.
"""

import argparse
import copy
import dataclasses
import os
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose
from hydra._internal.utils import get_args_parser  # the parser that hydra.main itself uses
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits import config, processes
from digits.errors import UserError, did_you_mean, first_line
from digits.help import help_text

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    type(None): "null",
}


def check_single(words: Sequence[str]) -> None:
    """Refuse words that stand for several values, where there is no sweep.

    Raises:
        UserError: Naming the first of them.
    """
    for override in _overrides(words):
        if override.is_sweep_override():
            raise UserError(f"{_words(override)} has several values; give one, or have the space name them.")


def written_out(words: Sequence[str]) -> list[str]:
    """Words with the names that a glob over a group stands for; Hydra would count our schemas among them."""
    return [
        f"{_key(override)}={','.join(value.filter(_options(_key(override), None)))}"
        if isinstance(value := override.value(), Glob)
        else _words(override)
        for override in _overrides(words)
    ]


def in_order(arguments: Sequence[str]) -> list[str]:
    """Overrides last: Hydra's parser takes ``-m`` and other options only in front of them, people put them anywhere."""
    return sorted(arguments, key=lambda word: "=" in word and not word.startswith("-"))


def check(arguments: Sequence[str], program: str = "python train.py", writes: bool = True) -> bool:
    """Check a command line of ``train.py``; print the help and exit if that is what it asks for.

    Args:
        arguments: The words after the program's name.
        program: The program's name, for the help.
        writes: Whether the directory that it names, or the default one, is to be written.

    Returns:
        Whether it asks for a sweep, by ``-m`` or by an experiment that is one.

    Raises:
        UserError: If it asks for something that cannot be.
    """
    args = _parse(arguments)
    if args.help:
        print(help_text(program), end="")
        sys.exit()
    if args.hydra_help or args.shell_completion or args.info:
        return False
    overrides = _overrides(args.overrides)
    with config.composing():
        groups = {_key(override): _options(_key(override), args.config_dir) for override in overrides}
        choices = [override for override in overrides if groups[_key(override)] or "/" in _key(override)]
        for choice in choices:
            _check_choice(choice, groups[_key(choice)])
        settings = [override for override in overrides if override not in choices]
        of_hydra = [_words(o) for o in settings if _key(o).startswith("hydra.") and not o.is_sweep_override()]
        if args.config_dir:
            of_hydra.append(f"hydra.searchpath=['file://{os.path.abspath(args.config_dir)}']")
        if any(_key(override) == "hydra.sweep.subdir" for override in settings):
            raise UserError("hydra.sweep.subdir stays: the directory of a job is its number, by which a sweep goes on.")
        own = [override for override in settings if not _key(override).startswith("hydra.")]
        for chosen in _combinations([list(_variants(choice, groups[_key(choice)])) for choice in choices]):
            cfg = _compose(args.config_name or "train", chosen, of_hydra)
            multirun = args.multirun or cfg.hydra.mode == RunMode.MULTIRUN
            for choice in choices:
                _check_several(choice, multirun)
            directory = _directory(cfg, "hydra.sweep.dir" if multirun else "hydra.run.dir")
            del cfg.hydra
            _check_settings(cfg, own, multirun)
    if not args.cfg:
        asked = any(word.partition("=")[0] in ("hydra.run.dir", "hydra.sweep.dir") for word in of_hydra)
        launched = processes.launched_externally()
        if launched and (cfg.trainer.strategy != "ddp" or cfg.trainer.devices != "auto"):
            number = launched[0] * launched[1]
            raise UserError(
                f"{number} processes were started for one training: add trainer=ddp, without trainer.devices."
            )
        if launched and not asked:
            raise UserError("several processes are one training, in one directory: add hydra.run.dir=outputs/NAME.")
        if writes:
            _check_directory(directory, make=asked)
    return multirun and not args.cfg


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}. Settings are words such as trainer.max_epochs=3; --help lists them.")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(in_order(arguments))
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(f"--config-dir {args.config_dir} is no directory.")
    if args.cfg and (args.multirun or args.run):
        raise UserError("--cfg prints one configuration and runs nothing: leave out -m, and the several values.")
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
            name = word.partition("=")[0]
            raise UserError(
                f"{word} cannot be read: a list is written {name}=[1,2], and a value with special characters in quotes "
                f"of its own, '{name}=\"…\"'."
            ) from error
        if not _key(parsed[-1]):
            raise UserError(f"{word} has no key; settings have the form key=value.")
    return parsed


def _words(override: Override) -> str:
    return override.input_line or ""


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _options(group: str, config_dir: str | None) -> list[str]:
    """The names that a group offers; none for what is no group."""
    found = set(GlobalHydra.instance().config_loader().get_group_options(group))
    if config_dir:
        found.update(file.stem for file in (Path(config_dir) / group).glob("*.yaml"))
    return sorted(option for option in found if not option.startswith("base_"))


def _combinations(variants: list[list[str]]) -> Iterator[list[str]]:
    """The first of each, then each of the others once: not every pair, so that a long sweep is checked at once too."""
    first = [words[0] for words in variants]
    yield first
    for index, words in enumerate(variants):
        for other in words[1:]:
            yield [*first[:index], other, *first[index + 1 :]]


def _compose(name: str, choices: list[str], of_hydra: list[str]) -> DictConfig:
    try:
        return compose(name, choices + of_hydra, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        told = str(error.__cause__ or error)
        if "submitit_" in str(error):
            raise UserError("this launcher needs a package: pip install 'digits[slurm]'.") from error
        if unfit := re.search(r"'experiment/([^']+)'.*\n?.*Key '([^']+)' not in", told):
            experiment, key = unfit.groups()
            others = " ".join(choice for choice in choices if choice != f"experiment={experiment}")
            if others:
                raise UserError(f"experiment={experiment} sets {key}, a key that {others} does not have.") from error
        lines = told.splitlines()[:2]  # in the second, Hydra names the key
        raise UserError(f"{' '.join([*choices, *of_hydra]) or name}: {' '.join(map(str.strip, lines))}") from error


def _directory(cfg: DictConfig, key: str) -> Path:
    try:
        given = str(OmegaConf.select(cfg, key))
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {first_line(error)}.") from error
    if not given:
        raise UserError(f"{key} is empty; it has to name a directory.")
    return Path(given).absolute()


def _check_directory(directory: Path, make: bool) -> None:
    """See that a directory can be written, and make it if it was asked for: where not, Hydra answers with a traceback.

    The default one is left to Hydra: it bears the time of a moment later.
    """
    if make:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the directory {directory} cannot be made: {error.strerror}.") from error
    there = next(path for path in (directory, *directory.parents) if os.path.exists(path))
    for path in (there, directory / "train.log"):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise UserError(f"{path} cannot be written: Permission denied.")


def _check_several(override: Override, multirun: bool) -> None:
    if getattr(override.value(), "shuffle", False):
        raise UserError(f"{_words(override)}: a sweep in another order each time cannot go on; write down the order.")
    if override.is_sweep_override() and not multirun:
        raise UserError(f"{_words(override)} has several values; add -m to run a job for each.")


def _check_choice(choice: Override, options: list[str]) -> None:
    group = _key(choice)
    if not options:
        raise UserError(f"there is no group {group}.")
    if choice.is_delete() or choice.is_add():
        raise UserError(f"{_words(choice)}: a group is chosen without + and ~, such as {group}={options[0]}.")
    for variant in _variants(choice, options):
        option = variant.partition("=")[2]
        if option not in options:
            near = did_you_mean(option, options, f"{group}=")
            raise UserError(f"there is no {variant}; {group} can be {', '.join(options)}.{near}")


def _variants(override: Override, options: Sequence[str] = ()) -> Iterator[str]:
    """The overrides of the jobs that one override of a sweep stands for; itself where it is none."""
    if not override.is_sweep_override():
        yield _words(override)
        return
    value = override.value()
    try:
        values = value.filter(list(options)) if isinstance(value, Glob) else list(override.sweep_string_iterator())
    except HydraException as error:
        raise UserError(f"{_words(override)} cannot be swept: {first_line(error)}.") from error
    if not values:
        raise UserError(f"{_words(override)} stands for no value{' of ' if options else ''}{', '.join(options)}.")
    for each in values:
        yield f"{override.get_key_element()}={each}"


def _check_settings(cfg: DictConfig, settings: list[Override], multirun: bool) -> None:
    """Set the overrides in a composed configuration: single values first, then each value of a sweep by itself."""
    sweeps = []
    for override in settings:
        key = _key(override)
        _check_key(cfg, key, _words(override))
        if override.is_delete():
            raise UserError(f"{_words(override)}: a key cannot be taken away; set it to another value.")
        if override.is_add() and not override.is_force_add():
            raise UserError(f"{_words(override)}: {key} exists already; write it without the +.")
        if not override.is_sweep_override():
            _set(cfg, key, override.value(), _words(override))
        else:
            _check_several(override, multirun)
            sweeps.append(override)
    jobs = [_overrides(list(_variants(sweep))) for sweep in sweeps]
    for sweep in jobs:
        _set(cfg, _key(sweep[0]), sweep[0].value(), _words(sweep[0]))
    config.check(cfg, multirun)
    for sweep in jobs:
        job = copy.deepcopy(cfg)
        for variant in sweep[1:]:
            _set(job, _key(variant), variant.value(), _words(variant))
            config.check(job, multirun)


def _set(cfg: DictConfig, key: str, value: Any, words: str) -> None:
    try:
        OmegaConf.update(cfg, key, value, merge=True)
    except OmegaConfBaseException as error:
        inner = re.sub(r"\[(\d+)\]", r".\1", str(error.full_key or key))  # blocks[0] is typed blocks.0
        _check_key(cfg, inner, words)
        if value in _choices(inner):
            raise UserError(f"{words}: choose it with a slash, {inner.replace('.', '/')}={value}.") from error
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
    if options := _choices(node):
        return " or ".join(f"{node.replace('.', '/')}={option}" for option in options if option != "none")
    return node.replace(".", "=", 1)


def _choices(node: str) -> list[str]:
    """The options of the group that a node is chosen from, of ``data.augment`` those of ``data/augment``."""
    return sorted(file.stem for file in (config.directory() / node.replace(".", "/")).glob("*.yaml"))


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
    if isinstance(node, ListConfig):  # an item of a list: what the whole list takes
        return _expected(cfg, parent)
    schema = OmegaConf.get_type(node)
    assert dataclasses.is_dataclass(schema)
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
