"""The schemas by which editors check conf/ are up to date, accept every file, and refuse wrong ones."""

import fnmatch
import json
import runpy
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from omegaconf import OmegaConf

from .helpers import ROOT

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "conf").rglob("*.yaml")
    if path.relative_to(ROOT).parts[1] != "hydra"  # groups of Hydra and its plugins, which have schemas of their own
)


def schema_of(file: str) -> Any:
    """The one schema that the editor's settings assign to a file."""
    settings = json.loads((ROOT / ".vscode/settings.json").read_text())["yaml.schemas"]
    (name,) = [
        name
        for name, patterns in settings.items()
        if any(fnmatch.fnmatch(file, pattern) and file.count("/") == pattern.count("/") for pattern in patterns)
    ]
    schema = json.loads((ROOT / name).read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_valid(file: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(ROOT / file))  # numbers as Hydra and editors read them
    jsonschema.validate(content, schema_of(file))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("conf/train.yaml", "sed: 1", "'sed' was unexpected"),
        ("conf/train.yaml", "trainer: {max_epoch: 1}", "'max_epoch' was unexpected"),
        ("conf/train.yaml", "seed: -1", "-1 is not valid"),
        ("conf/experiment/fast.yaml", "optimizer: {lr: 0}", "0 is not valid"),
        ("conf/optimizer/sgd.yaml", "momentum: fast", "'fast' is not valid"),
        ("conf/optimizer/sgd.yaml", "_target_: torch.optim.SDG", "'torch.optim.SDG' is not valid"),
        ("conf/model/mlp.yaml", "blocks: [{channels: 0}]", "0 is not valid"),
        ("conf/model/mlp.yaml", "blocks: [{kernel: 3}]", "'kernel' was unexpected"),
        ("conf/model/mlp.yaml", "head: {activation: rely}", "'rely' is not valid"),
        ("conf/data/mnist.yaml", "name: mnits", "'mnits' is not valid"),
        ("conf/data/mnist.yaml", "augment: {rotation: 200}", "is not valid"),
        ("conf/data/augment/affine.yaml", "rotations: 3", "'rotations' was unexpected"),
        ("conf/trainer/cpu.yaml", "devices: 0", "0 is not valid"),
        ("conf/callbacks/default.yaml", "early_stopping: {patience: 0}", "is not valid"),
        ("conf/logger/csv.yaml", "csv: 3", "3 is not valid"),
        ("conf/scheduler/step.yaml", "gamma: 2", "2 is not valid"),
        ("conf/averaging/ema.yaml", "decay: 1", "1 is not valid"),
        ("conf/search/default.yaml", "sampler: bayes", "'bayes' is not valid"),
    ],
)
def test_a_wrong_file_is_refused(file: str, content: str, message: str) -> None:
    found = messages(jsonschema.Draft7Validator(schema_of(file)).iter_errors(yaml.safe_load(content)))
    assert any(message in each for each in found)


def messages(errors: Iterable[jsonschema.ValidationError]) -> Iterator[str]:
    """The messages of errors, and of the errors nested in them."""
    for error in errors:
        yield error.message
        yield from messages(error.context or ())


def test_keys_have_descriptions_and_accept_interpolations() -> None:
    """Editors show the descriptions. A value of any type may be an interpolation."""
    schema = schema_of("conf/trainer/cpu.yaml")
    assert schema["properties"]["max_epochs"]["description"] == "passes over the training set"
    jsonschema.validate({"max_epochs": "${oc.env:EPOCHS,3}", "accelerator": "${which}"}, schema)
    whole = {"model": "${mine}", "data": {"augment": "${other}"}, "optimizer": {"betas": ["${beta}", 0.9]}}
    jsonschema.validate({**whole, "callbacks": {"early_stopping": "${stop}"}}, schema_of("conf/train.yaml"))
    jsonschema.validate({"blocks": "${blocks}"}, schema_of("conf/model/mlp.yaml"))
    classes = schema_of("conf/optimizer/sgd.yaml")["properties"]["_target_"]["anyOf"][0]["enum"]
    assert set(classes) == {f"torch.optim.{name}" for name in ("Adam", "AdamW", "RMSprop", "SGD")}


def test_the_schemas_are_up_to_date() -> None:
    texts = dict(runpy.run_path(str(ROOT / "docs/schemas.py"))["texts"]())
    assert {path: path.read_text() for path in texts} == texts
    assert set(texts) >= set((ROOT / ".vscode/schemas").iterdir())
