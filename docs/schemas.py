"""Writes a JSON schema for every group of conf/, from the dataclasses in src/digits/config.py; `make format` calls it.

Editors complete and check YAML files with them: .vscode/settings.json says which schema belongs to which files.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from digits.config import TrainConfig
from digits.sweeps.space import SearchConfig
from digits.validation import DEVICES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".vscode/schemas"
SETTINGS = ROOT / ".vscode/settings.json"

Schema = dict[str, Any]

INTERPOLATION = {"type": "string", "pattern": r"\$\{.+\}"}
DEFAULTS = {"type": "array", "description": "Files that this one starts from, and the place of its own values: _self_."}
HYDRA = {"type": "object", "description": "Hydra's own keys: python train.py --hydra-help"}


def schemas() -> dict[str, tuple[list[str], Schema]]:
    """The schema of each group, by its name, with the files that it applies to."""
    whole = of_dataclass(TrainConfig)
    own = whole["properties"]
    found = {
        "train": (["conf/train.yaml", "conf/experiment/*.yaml", "conf/debug/*.yaml"], _file(whole, {"hydra": HYDRA})),
        "search": (["conf/search/*.yaml"], _file(of_dataclass(SearchConfig), {})),
    }
    for name in ("data", "model", "optimizer", "scheduler", "averaging", "trainer", "callbacks", "logger"):
        # A file with `# @package _global_` has the group's name as its key.
        found[name] = ([f"conf/{name}/*.yaml"], _file(_object(own[name]), {name: own[name]}))
    augment = _object(_object(own["data"])["properties"]["augment"])
    found["augment"] = (["conf/data/augment/*.yaml"], _file(augment, {"data": own["data"]}))
    return found


def _object(schema: Schema) -> Schema:
    """The object in the schema of a key that may also be null."""
    return next((each for each in schema.get("anyOf", []) if each.get("type") == "object"), schema)


def _file(schema: Schema, more: Mapping[str, Schema]) -> Schema:
    """The schema of a file: the keys of its group, ``defaults``, and some more."""
    properties = {**schema["properties"], "defaults": DEFAULTS, **more}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "properties": properties}


def of_dataclass(kind: Any) -> Schema:
    """The schema of a group: the keys of a dataclass, and of the dataclasses that inherit from it; none is required."""
    properties: dict[str, Schema] = {}
    for each in (kind, *kind.__subclasses__()):
        for name, hint in get_type_hints(each, include_extras=True).items():
            new = _of_hint(hint if name != "devices" else Annotated[Any, "number of devices, their indices, or auto"])
            old = properties.get(name, new)
            properties[name] = _either(old, new)
    description = " ".join(str(kind.__doc__).split("\n\n")[0].split())
    return {"type": "object", "description": description, "additionalProperties": False, "properties": properties}


def _either(old: Schema, new: Schema) -> Schema:
    """Merge two schemas of one key: join two lists of words, such as classes; else keep the longer schema."""
    words = [schema["anyOf"][0].get("enum") for schema in (old, new) if "anyOf" in schema]
    if old != new and len(words) == 2 and all(words):
        return old | {"anyOf": [{"enum": list(dict.fromkeys([*words[0], *words[1]]))}, INTERPOLATION]}
    return max(old, new, key=lambda schema: len(json.dumps(schema)))


def _of_hint(hint: Any) -> Schema:
    """The schema of a key, which may also be an interpolation."""
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, str)]
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    parts = get_args(plain) or (plain,)
    if inner := next((part for part in parts if dataclasses.is_dataclass(part)), None):
        schema = of_dataclass(inner)
        description = schema["description"]
        if get_origin(plain) is list:
            schema = {"type": "array", "items": {"anyOf": [schema, INTERPOLATION]}}
        null = [{"type": "null"}] if NoneType in parts else []
        return {"anyOf": [schema, *null, INTERPOLATION], "description": description}
    leaf = (DEVICES if plain is Any else TypeAdapter(hint)).json_schema()
    if words := leaf.get("enum", [leaf["const"]] if "const" in leaf else []):
        leaf = {"enum": words}
    for each in (leaf, *leaf.get("anyOf", [])):
        if "items" in each:
            each["items"] = {"anyOf": [each["items"], INTERPOLATION]}
    description = {"description": ", ".join(notes)} if notes else {}
    return {"anyOf": [*leaf.pop("anyOf", [leaf] if leaf else []), INTERPOLATION], **description}


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that this script writes, with its content."""
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    settings["yaml.schemas"] = {}
    for name, (files, schema) in sorted(schemas().items()):
        path = FOLDER / f"{name}.json"
        settings["yaml.schemas"][f"./{path.relative_to(ROOT).as_posix()}"] = files
        yield path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    yield SETTINGS, json.dumps(settings, indent=2) + "\n"


def main() -> None:
    """Write the files that are missing or differ; with ``--check``, name them and fail."""
    stale = [(path, text) for path, text in texts() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv and stale:
        sys.exit(f"not as src/digits/config.py has it: {', '.join(path.name for path, _ in stale)}; make format")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in stale:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
