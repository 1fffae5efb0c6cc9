"""Ranges, and keys that depend on each other: refused with the key, its value and what is allowed."""

import pytest

from digits.errors import UserError
from digits.validation import resolve

from .helpers import composed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.batch_size=0"],
            "data.batch_size=0 is not allowed: it should be greater than or equal to 1 (images per batch",
        ),
        (["data.val_size=60000"], "less than 60000"),
        (["data=sample", "data.val_size=4500"], "4500"),
        (["model.head.dropout=1.0"], "less than 1"),
        (["model.head.hidden=[10,0]"], "model.head.hidden=[10,0]"),
        (["model.blocks.1.kernel_size=0"], "model.blocks.1.kernel_size=0"),
        (["model.blocks.0.padding=sam"], "Did you mean model.blocks.0.padding=same?"),
        (["optimizer.lr=0"], "greater than 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan"),
        (["optimizer.lr=inf"], "optimizer.lr=inf"),
        (["optimizer.betas=[0.9]"], "two numbers"),
        (["optimizer=sgd", "optimizer.momentum=0"], "optimizer.nesterov"),
        (["seed=-1"], "seed=-1"),
        (["trainer.accelerator=gpuu"], "Did you mean trainer.accelerator=gpu?"),
        (["trainer.devices=0"], "trainer.devices=0"),
        (["trainer.devices=some"], "trainer.devices=some"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
        (["optimizer._target_=os.system"], "torch.optim.Adam"),
        (["optimizer._target_=torch.optim.SGD"], "torch.optim.Adam"),
        (["seed=${nope}"], "nope"),
        (["callbacks=early_stopping", "data.val_size=0"], "data.val_size=0"),
        (["averaging=ema", "trainer.precision=bf16-true"], "averaging=none"),
        (["model.blocks.0.kernel_size=33"], "model: block 1, conv 33×33"),
    ],
)
def test_values_that_are_not_allowed_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(composed(*overrides))
    assert message in str(error.value)


@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_spawn"])
def test_a_multirun_on_several_machines_is_refused(strategy: str) -> None:
    cfg = composed("trainer.num_nodes=2", f"trainer.strategy={strategy}")
    resolve(cfg)
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2 in a multirun would wait forever"):
        resolve(cfg, multirun=True)


@pytest.mark.parametrize("devices", ["auto", "2", "-1", "[0,1]", "'0,1'"])
def test_devices_in_every_form_of_lightning_are_accepted(devices: str) -> None:
    resolve(composed(f"trainer.devices={devices}"))
