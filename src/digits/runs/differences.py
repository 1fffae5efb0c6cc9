"""Compares configurations key by key."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the dotted keys in which configurations differ, each with its value in all of them."""
    flattened = [dict(flat(config)) for config in configs]
    keys = dict.fromkeys(key for config in flattened for key in config)
    values = {key: tuple(config.get(key) for config in flattened) for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


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
