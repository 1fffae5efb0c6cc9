"""Compares configurations key by key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the dotted keys in which configurations differ, each with its value in all of them."""
    flattened = [dict(flat(config)) for config in configs]
    keys = dict.fromkeys(key for config in flattened for key in config)
    values = {key: tuple(config.get(key) for config in flattened) for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def with_defaults(config: dict[str, Any] | None, schema: Any) -> dict[str, Any] | None:
    """Complete a configuration that an older version has written: a missing key gets its default.

    Args:
        config: Plain values; None stays None.
        schema: An instance of the dataclass with the current keys.
    """
    if config is None:
        return None
    completed = dict(config)
    for key in fields(schema):
        current = getattr(schema, key.name)
        stored = completed.get(key.name)
        if key.name not in completed:
            default: Any = key.default if key.default_factory is MISSING else key.default_factory()
            completed[key.name] = asdict(default) if is_dataclass(current) and default else default
        elif is_dataclass(current) and isinstance(stored, dict):
            completed[key.name] = with_defaults(stored, current)
        elif isinstance(current, list) and isinstance(stored, list) and current and is_dataclass(current[0]):
            completed[key.name] = [with_defaults(item, current[0]) for item in stored]
    return completed


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a configuration under its dotted key; a list is one value unless it contains mappings."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for index, item in enumerate(node):
            yield from flat(item, f"{prefix}.{index}")
    else:
        yield prefix, node
