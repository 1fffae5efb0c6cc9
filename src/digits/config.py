"""The typed schema of every configuration key, with its unit and its range.

Importing this module makes them known to Hydra, which merges the files of ``conf/`` into them, so that a wrong key or
type is refused while composing; `check` adds what a type cannot say. Nothing here imports torch: a mistake is reported
before anything slow begins.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits.errors import UserError, did_you_mean, first_line
from digits.keys import Rule, key, shown
from digits.model.geometry import IMAGE_SIZE, Block, GeometryError, Head, layers

NEXT_HYDRA = not hydra.__version__.startswith("1.3.")
"""Whether Hydra is 1.4 or newer: it warns of ``version_base``, and asks which classes YAML may name."""

EXECUTION_WHITELIST = ["digits.console.*", "digits.sweeps.sweep.*", "hydra_plugins.*"]
"""What Hydra 1.4 may create from YAML: the screen's log handler, the callback around a sweep, and launchers."""

BEHAVIOUR: dict[str, Any] = {} if NEXT_HYDRA else {"version_base": "1.3"}
REPLACE: dict[str, Any] = {"replace": True} if NEXT_HYDRA else {}  # a schema that is stored twice

OFFICIAL_TRAIN_SIZE = 60_000
SAMPLE_TRAIN_SIZE = 4_500


@dataclass
class AugmentConfig:
    """Arguments of `digits.data.augmentation.Augmentation`."""

    rotation: float = key(0.0, "degrees, largest angle either way", at_least=0, at_most=180)
    shift: float = key(0.0, "pixels, farthest move along each axis", at_least=0, below=IMAGE_SIZE)
    scale: float = key(0.0, "largest change of size, as a share", at_least=0, at_most=1)
    shear: float = key(0.0, "degrees, largest slant either way", at_least=0, at_most=60)
    elastic: float = key(0.0, "pixels, standard deviation of what bending moves", at_least=0, below=IMAGE_SIZE)
    smoothness: float = key(4.0, "pixels over which bends are alike", at_least=1, at_most=IMAGE_SIZE)
    erase: float = key(0.0, "share of the images of which a part is covered", at_least=0, at_most=1)
    erased: int = key(8, "pixels, largest side of that part", at_least=1, at_most=IMAGE_SIZE)
    final: float = key(1.0, "share of all this that is left in the last epoch", at_least=0, at_most=1)


@dataclass
class DataConfig:
    """Arguments of `digits.data.MNISTDataModule`."""

    name: str = key("mnist", "data set", one_of=("mnist", "sample"))
    root: str = key("data", "folder that holds the MNIST files, or receives them")
    batch_size: int = key(200, "images per batch, in each process", at_least=1, below=2**31)
    val_size: int = key(5_000, "images of the training set kept for validation", at_least=0, below=OFFICIAL_TRAIN_SIZE)
    split_seed: int = key(0, "seed of the split into training and validation", at_least=0, below=2**32)
    mirrors: list[str] | None = key(None, "addresses to fetch from; null: those that torchvision lists")
    offline_fallback: bool = key(True, "train on the sample of 5,000 digits where no mirror answers")
    augment: AugmentConfig | None = None


@dataclass
class ModelConfig:
    """Arguments of `digits.network.Network`."""

    blocks: list[Block] = field(default_factory=list)
    head: Head = field(default_factory=Head)


@dataclass
class OptimizerConfig:
    """What every optimizer of torch has; the subclasses add their own keys under torch's names."""

    _target_: str = MISSING
    lr: float = key(MISSING, "learning rate", above=0)
    weight_decay: float = key(0.0, "weight decay", at_least=0)


@dataclass
class AdamConfig(OptimizerConfig):
    """`torch.optim.Adam` and `torch.optim.AdamW`."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.Adam", "torch.optim.AdamW"))
    betas: list[float] = key([0.9, 0.999], "decay of the two running means", at_least=0, below=1)
    eps: float = key(1e-8, "added to the denominator", above=0)
    amsgrad: bool = False
    fused: bool | None = key(None, "one kernel for all parameters; null: wherever torch has one, on cpu, cuda and mps")


@dataclass
class SGDConfig(OptimizerConfig):
    """`torch.optim.SGD`."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.SGD",))
    momentum: float = key(0.0, "momentum", at_least=0, below=1)
    nesterov: bool = False
    fused: bool | None = key(None, "one kernel for all parameters; null: wherever torch has one, on cpu, cuda and mps")


@dataclass
class RMSpropConfig(OptimizerConfig):
    """`torch.optim.RMSprop`."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.RMSprop",))
    alpha: float = key(0.99, "decay of the running mean", at_least=0, below=1)
    eps: float = key(1e-8, "added to the denominator", above=0)
    momentum: float = key(0.0, "momentum", at_least=0, below=1)


@dataclass
class SchedulerConfig:
    """What every scheduler has; the subclasses add their own keys under torch's names."""

    _target_: str = MISSING
    interval: str = key("step", "when it moves the learning rate", one_of=("step", "epoch"))


@dataclass
class StepConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.StepLR`."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.lr_scheduler.StepLR",))
    step_size: int = key(MISSING, "intervals from one drop to the next", at_least=1)
    gamma: float = key(0.1, "factor of a drop", above=0, at_most=1)


@dataclass
class CosineConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.CosineAnnealingLR`, over the whole training."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.lr_scheduler.CosineAnnealingLR",))
    eta_min: float = key(0.0, "learning rate at the end", at_least=0)


@dataclass
class OneCycleConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.OneCycleLR`, over the whole training, with its peak at `optimizer.lr`."""

    _target_: str = key(MISSING, "class", one_of=("torch.optim.lr_scheduler.OneCycleLR",))
    pct_start: float = key(0.3, "share of the training in which the rate rises", above=0, below=1)
    anneal_strategy: str = key("cos", "shape of the way up and down", one_of=("cos", "linear"))
    div_factor: float = key(25.0, "peak over the rate at the start", at_least=1)
    final_div_factor: float = key(1e4, "rate at the start over the rate at the end", at_least=1)
    cycle_momentum: bool = False


@dataclass
class TrainerConfig:
    """Arguments of `lightning.Trainer`, under its names; ``memory_format`` and ``compile`` are torch's."""

    accelerator: str = key("auto", "what to train on", one_of=("auto", "cpu", "gpu", "cuda", "mps", "tpu"))
    devices: Any = "auto"
    num_nodes: int = key(1, "machines; where torchrun or Slurm starts the processes, they say how many", at_least=1)
    strategy: str = key("auto", "how several devices share the work", one_of=("auto", "ddp", "ddp_spawn"))
    precision: str = key(
        "auto",
        "arithmetic; auto: bf16-mixed where the device computes it natively",
        one_of=("auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"),
    )
    memory_format: str = key(
        "auto",
        "order of the values of feature maps and filters in memory; auto: channels_last but on mps",
        one_of=("auto", "channels_last", "contiguous_format"),
    )
    compile: bool = key(False, "have torch.compile make the kernels of the network")
    max_epochs: int = key(10, "passes over the training set", at_least=1)
    gradient_clip_val: float | None = key(None, "largest norm of the gradient; null: any", above=0)
    accumulate_grad_batches: int = key(1, "batches whose gradients make one optimizer step", at_least=1)
    log_every_n_steps: int = key(100, "steps from one line of the log to the next", at_least=1)
    limit_train_batches: int | float = key(1.0, "batches of an epoch, or share of them (1.0 is all)", above=0)
    profiler: str | None = key(
        None, "what measures the training, into profile/", one_of=("simple", "advanced", "pytorch")
    )
    deterministic: bool = key(False, "use only operations that repeat to the last bit on a GPU")


@dataclass
class AveragingConfig:
    """Which average of the weights is validated, saved and tested."""

    _target_: str = MISSING


@dataclass
class EMAConfig(AveragingConfig):
    """`digits.model.averaging.EMA`."""

    _target_: str = key(MISSING, "class", one_of=("digits.model.averaging.EMA",))
    decay: float = key(0.998, "what stays of the average at a step", at_least=0, below=1)


@dataclass
class LastEpochsConfig(AveragingConfig):
    """`digits.model.averaging.LastEpochs`."""

    _target_: str = key(MISSING, "class", one_of=("digits.model.averaging.LastEpochs",))
    epochs: int = key(3, "last epochs, whose ends are averaged", at_least=1)


class _Watching:
    monitor: str

    @property
    def mode(self) -> str:
        """Whether the largest (``max``) or the smallest (``min``) value is the best."""
        return "min" if self.monitor.endswith("loss") else "max"


@dataclass
class CheckpointConfig(_Watching):
    """What makes a checkpoint the best one, and how often there is one within an epoch."""

    monitor: str = key("val/accuracy", "metric", one_of=("val/accuracy", "val/loss"))
    every_n_steps: int | None = key(None, "optimizer steps", at_least=1)
    every_n_seconds: float | None = key(60.0, "seconds", above=0)


@dataclass
class EarlyStoppingConfig(_Watching):
    """Arguments of `lightning.pytorch.callbacks.EarlyStopping`."""

    _target_: str = key(MISSING, "class", one_of=("lightning.pytorch.callbacks.EarlyStopping",))
    monitor: str = key("val/loss", "metric", one_of=("val/accuracy", "val/loss"))
    patience: int = key(3, "validations without improvement before it stops", at_least=1)
    min_delta: float = key(0.0, "smallest change that counts as improvement", at_least=0)


@dataclass
class CallbacksConfig:
    """What watches the training."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    early_stopping: EarlyStoppingConfig | None = None


@dataclass
class TensorBoardConfig:
    """Arguments of `lightning.pytorch.loggers.TensorBoardLogger`; the run directory is filled in."""

    _target_: str = key(MISSING, "class", one_of=("lightning.pytorch.loggers.TensorBoardLogger",))
    name: str = "tensorboard"
    version: str = ""


@dataclass
class WandbConfig:
    """Arguments of `lightning.pytorch.loggers.WandbLogger`; directory, name, tags and notes are the run's."""

    _target_: str = key(MISSING, "class", one_of=("lightning.pytorch.loggers.WandbLogger",))
    project: str = "digits"
    offline: bool = False


@dataclass
class MLFlowConfig:
    """Arguments of `lightning.pytorch.loggers.MLFlowLogger`; name, tags and notes are the run's."""

    _target_: str = key(MISSING, "class", one_of=("lightning.pytorch.loggers.MLFlowLogger",))
    experiment_name: str = "digits"
    tracking_uri: str = key("sqlite:///mlflow.db", "database or server")


@dataclass
class LoggerConfig:
    """Where the metrics of each epoch are written."""

    csv: bool = key(True, "write metrics.csv")
    tensorboard: TensorBoardConfig | None = None
    wandb: WandbConfig | None = None
    mlflow: MLFlowConfig | None = None


@dataclass
class TrainConfig:
    """Everything that one training is told."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig | None = None
    averaging: AveragingConfig | None = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = key(0, "seed of weights, order and dropout", at_least=0, below=2**32)
    label_smoothing: float = key(0.0, "share of the target spread over all classes", at_least=0, below=1)
    overfitting: bool = key(False, "test on the training images as well")
    report: bool = key(True, "write report/index.html at the end")
    tags: list[str] = key([], "words to find the run by; digits runs --tag WORD")
    notes: str = key("", "what to remember about the run")


SCHEMAS: dict[str | None, dict[str, type]] = {
    None: {"base_train": TrainConfig},
    "data": {"base_data": DataConfig},
    "data/augment": {"base_augment": AugmentConfig},
    "model": {"base_model": ModelConfig},
    "optimizer": {"base_adam": AdamConfig, "base_sgd": SGDConfig, "base_rmsprop": RMSpropConfig},
    "scheduler": {"base_step": StepConfig, "base_cosine": CosineConfig, "base_one_cycle": OneCycleConfig},
    "averaging": {"base_ema": EMAConfig, "base_last_epochs": LastEpochsConfig},
    "trainer": {"base_trainer": TrainerConfig},
    "callbacks": {"base_callbacks": CallbacksConfig},
    "logger": {"base_logger": LoggerConfig},
}


# Their names start with "base_", by which command_line leaves them out of the lists of options.
for group, schemas in SCHEMAS.items():
    for name, schema in schemas.items():
        ConfigStore.instance().store(name=name, node=schema, group=group, provider="digits", **REPLACE)


def directory() -> Path:
    """The folder ``conf/``: beside ``src/`` in a checkout, inside the package in a wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def entry_point(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """Have Hydra read the command line, compose ``conf/train.yaml``, and call a function with it for each job."""
    trusted: dict[str, Any] = {"execution_whitelist": EXECUTION_WHITELIST} if NEXT_HYDRA else {}
    main = hydra.main(config_path=str(directory()), config_name="train", **BEHAVIOUR, **trusted)(function)
    return cast(Callable[[], Any], main)


def composing() -> AbstractContextManager[Any]:
    """Within it, `hydra.compose` reads ``conf/``."""
    return hydra.initialize_config_dir(str(directory()), **BEHAVIOUR)


def check(cfg: DictConfig | TrainConfig, multirun: bool = False) -> TrainConfig:
    """Check what types cannot: ranges, words, and keys that have to agree.

    Args:
        cfg: A composed configuration.
        multirun: Whether it is one job of several in the same process.

    Returns:
        The same as dataclasses, interpolations resolved, ``data.root`` absolute.

    Raises:
        UserError: For the first key that is wrong; the message names it, its value and what is allowed.
    """
    if isinstance(cfg, DictConfig):
        try:
            cfg = cast(TrainConfig, OmegaConf.to_object(cfg))
        except OmegaConfBaseException as error:
            raise UserError(f"{first_line(error)}.") from error
    if not isinstance(cfg, TrainConfig):
        raise TypeError(f"expected a configuration composed from {directory()}, got {type(cfg).__name__}")
    check_rules(cfg)
    cfg.data.root = os.path.abspath(Path(cfg.data.root).expanduser())
    _check_devices(cfg.trainer)
    relaunches = cfg.trainer.strategy in ("auto", "ddp") and cfg.trainer.devices not in (1, "1")
    if multirun and relaunches and not (isinstance(cfg.trainer.devices, list) and len(cfg.trainer.devices) == 1):
        raise UserError(
            f"a multirun with trainer.strategy={cfg.trainer.strategy} and trainer.devices={shown(cfg.trainer.devices)} "
            "would start the whole sweep again in each process: use trainer.strategy=ddp_spawn, or trainer.devices=1."
        )
    if multirun and cfg.trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={cfg.trainer.num_nodes} in a multirun would wait for machines on which nothing begins: "
            "use trainer.num_nodes=1, or a run for each configuration, by torchrun or Slurm."
        )
    if cfg.data.name == "sample" and cfg.data.val_size >= SAMPLE_TRAIN_SIZE:
        raise UserError(
            f"data.val_size={cfg.data.val_size} is not allowed: the sample has {SAMPLE_TRAIN_SIZE} training images, "
            "so it has to be below that."
        )
    if cfg.callbacks.early_stopping and cfg.data.val_size == 0:
        raise UserError(
            "callbacks.early_stopping watches validation metrics, and data.val_size=0 leaves none: "
            "set data.val_size=5000 or callbacks=default."
        )
    if cfg.averaging and cfg.trainer.precision in ("16-true", "bf16-true"):
        raise UserError(
            f"averaging adds small shares, which weights in 16 bits lose: trainer.precision={cfg.trainer.precision} "
            "needs averaging=none; bf16-mixed and 16-mixed keep weights in 32 bits."
        )
    if isinstance(cfg.averaging, LastEpochsConfig) and cfg.callbacks.early_stopping:
        raise UserError(
            "averaging=last_epochs averages the last of trainer.max_epochs, before which callbacks=early_stopping may "
            "end: use averaging=ema, or callbacks=default."
        )
    if isinstance(cfg.optimizer, AdamConfig) and len(cfg.optimizer.betas) != 2:
        raise UserError(f"optimizer.betas={shown(cfg.optimizer.betas)} is not allowed: it has to be two numbers.")
    if isinstance(cfg.optimizer, SGDConfig) and cfg.optimizer.nesterov and cfg.optimizer.momentum == 0:
        raise UserError("optimizer.nesterov=true needs momentum: set optimizer.momentum=0.9.")
    try:
        layers(cfg.model.blocks, cfg.model.head)
    except GeometryError as error:
        raise UserError(f"model: {error}") from error
    return cfg


def data(arguments: Mapping[str, Any]) -> DataConfig:
    """The data of a configuration by themselves.

    Raises:
        UserError: For the first key that is wrong.
    """
    try:
        cfg = cast(DataConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), arguments)))
    except OmegaConfBaseException as error:
        raise UserError(f"{first_line(error)}.") from error
    check_rules(cfg, "data.")
    return cfg


def check_rules(node: Any, prefix: str = "") -> None:
    """Refuse the first value of a dataclass that its rule does not allow.

    Raises:
        UserError: Naming it, and what is allowed.
    """
    for name, value, rule in _ruled(node, prefix):
        if not rule.allows(value):
            near = did_you_mean(str(value), rule.one_of, f"{name}=")
            raise UserError(
                f"{name}={shown(value)} is not allowed: it has to be {str(rule) or 'finite'} ({rule.meaning}).{near}"
            )


def _check_devices(trainer: TrainerConfig) -> None:
    devices = trainer.devices
    words = devices in ("auto", "-1", -1) or (isinstance(devices, str) and devices.replace(",", "").isdigit())
    count = isinstance(devices, int) and not isinstance(devices, bool) and devices >= 1
    indices = isinstance(devices, list) and bool(devices) and all(isinstance(i, int) and i >= 0 for i in devices)
    if not (words or count or indices):
        raise UserError(
            f"trainer.devices={shown(devices)} is not allowed: it has to be auto, a number of devices (at least 1), "
            "-1 for all, or a list of their indices such as [0,1]."
        )


def _ruled(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Rule]]:
    """Yield (dotted name, value, rule) for every key below a dataclass that has a rule."""
    for entry in dataclasses.fields(node):
        name, value = prefix + entry.name, getattr(node, entry.name)
        if dataclasses.is_dataclass(value):
            yield from _ruled(value, f"{name}.")
        elif isinstance(value, list) and value and dataclasses.is_dataclass(value[0]):
            for index, item in enumerate(value):
                yield from _ruled(item, f"{name}.{index}.")
        elif rule := entry.metadata.get("rule"):
            yield name, value, rule
