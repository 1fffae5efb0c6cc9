"""The schema of every configuration key: its type, range, unit and meaning.

Hydra merges the files of ``conf/`` into these dataclasses, and so refuses unknown keys and wrong types.
`digits.validation` checks the ranges. Nothing here imports torch, so that mistakes are reported at once.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Len, Lt
from omegaconf import MISSING

from digits.model.geometry import IMAGE_SIZE, Block, Head, OneOf
from digits.model.spec import PREPARATIONS

OFFICIAL_TRAIN_SIZE = 60_000
SAMPLE_TRAIN_SIZE = 4_500
LATEST = "latest"  # the newest finished run
SAMPLE = "mnist-sample-5k"  # the name of the sample in results

Seed = Annotated[int, Ge(0), Lt(2**32)]
Fused = Annotated[bool | None, "one kernel for all parameters; null: wherever torch has one, on cpu, cuda and mps"]
Metric = Annotated[str, OneOf("val/accuracy", "val/loss"), "metric"]


@dataclass
class AugmentConfig:
    """Settings of `digits.data.augmentation.Augmentation`."""

    rotation: Annotated[float, Ge(0), Le(180), "degrees, largest angle in either direction"] = 0.0
    shift: Annotated[float, Ge(0), Lt(IMAGE_SIZE), "pixels, largest shift along each axis"] = 0.0
    scale: Annotated[float, Ge(0), Le(1), "largest relative change of size"] = 0.0
    shear: Annotated[float, Ge(0), Le(60), "degrees, largest slant in either direction"] = 0.0
    elastic: Annotated[float, Ge(0), Lt(IMAGE_SIZE), "pixels, standard deviation of the elastic distortion"] = 0.0
    smoothness: Annotated[float, Ge(1), Le(IMAGE_SIZE), "pixels over which the distortion is similar"] = 4.0
    thickness: Annotated[float, Ge(0), Le(1), "pixels, largest change of the strokes on each side"] = 0.0
    serif: Annotated[float, Ge(0), Le(1), "fraction of ones and sixes that get a stroke at their upper end"] = 0.0
    erase: Annotated[float, Ge(0), Le(1), "fraction of the images in which a rectangle is erased"] = 0.0
    erased: Annotated[int, Ge(1), Le(IMAGE_SIZE), "pixels, longest side of that rectangle"] = 8
    final: Annotated[float, Ge(0), Le(1), "fraction of all these changes in the last epoch"] = 1.0


@dataclass
class DataConfig:
    """The data of a training, for `digits.data.mnist.MNISTDataModule`."""

    name: Annotated[str, OneOf("mnist", "sample", "fashion", "kmnist", "folder"), "data set"] = "mnist"
    root: Annotated[str, "folder with the files, or for them; for name=folder, with a folder of pictures per class"] = (
        "data"
    )
    batch_size: Annotated[int, Ge(1), Lt(2**31), "images per batch, in each process"] = 200
    val_size: Annotated[
        Annotated[int, Ge(0), Lt(OFFICIAL_TRAIN_SIZE)] | Annotated[float, Gt(0), Lt(1)],
        "training images held out for validation, or a fraction of them",
    ] = 5_000
    test_size: Annotated[
        Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)],
        "of name=folder: pictures held out for the test, or a fraction of them, unless there is a folder test",
    ] = 0.2
    split_seed: Annotated[Seed, "seed of the split into training and validation"] = 0
    mirrors: Annotated[list[str] | None, "addresses to download from; null: those that torchvision lists"] = None
    offline_fallback: Annotated[bool, "train on the sample of 5,000 digits if no mirror answers"] = True
    prepare: Annotated[str, OneOf(*PREPARATIONS), "how a picture becomes an image"] = "photo"
    augment: AugmentConfig | None = None


@dataclass
class ModelConfig:
    """Arguments of `digits.model.network.Network`."""

    blocks: list[Block] = field(default_factory=list)
    head: Head = field(default_factory=Head)


@dataclass
class OptimizerConfig:
    """The keys that every optimizer has; the subclasses add their own, under torch's names."""

    _target_: str = MISSING
    lr: Annotated[float, Gt(0), "learning rate"] = MISSING
    weight_decay: Annotated[float, Ge(0), "weight decay"] = 0.0


@dataclass
class AdamConfig(OptimizerConfig):
    """`torch.optim.Adam` and `torch.optim.AdamW`."""

    _target_: Annotated[str, OneOf("torch.optim.Adam", "torch.optim.AdamW")] = MISSING
    betas: Annotated[
        list[Annotated[float, Ge(0), Lt(1)]], Len(2, 2), "decay rates of the two running averages, two numbers"
    ] = field(default_factory=lambda: [0.9, 0.999])
    eps: Annotated[float, Gt(0), "added to the denominator"] = 1e-8
    amsgrad: bool = False
    fused: Fused = None


@dataclass
class SGDConfig(OptimizerConfig):
    """`torch.optim.SGD`."""

    _target_: Annotated[str, OneOf("torch.optim.SGD")] = MISSING
    momentum: Annotated[float, Ge(0), Lt(1), "momentum"] = 0.0
    nesterov: bool = False
    fused: Fused = None


@dataclass
class RMSpropConfig(OptimizerConfig):
    """`torch.optim.RMSprop`."""

    _target_: Annotated[str, OneOf("torch.optim.RMSprop")] = MISSING
    alpha: Annotated[float, Ge(0), Lt(1), "decay rate of the running average"] = 0.99
    eps: Annotated[float, Gt(0), "added to the denominator"] = 1e-8
    momentum: Annotated[float, Ge(0), Lt(1), "momentum"] = 0.0


@dataclass
class SchedulerConfig:
    """The keys that every scheduler has; the subclasses add their own, under torch's names."""

    _target_: str = MISSING
    interval: Annotated[str, OneOf("step", "epoch"), "how often the learning rate changes"] = "step"


@dataclass
class StepConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.StepLR`."""

    _target_: Annotated[str, OneOf("torch.optim.lr_scheduler.StepLR")] = MISSING
    step_size: Annotated[int, Ge(1), "intervals between two drops"] = MISSING
    gamma: Annotated[float, Gt(0), Le(1), "factor of a drop"] = 0.1


@dataclass
class CosineConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.CosineAnnealingLR`, over the whole training."""

    _target_: Annotated[str, OneOf("torch.optim.lr_scheduler.CosineAnnealingLR")] = MISSING
    eta_min: Annotated[float, Ge(0), "learning rate at the end"] = 0.0


@dataclass
class OneCycleConfig(SchedulerConfig):
    """`torch.optim.lr_scheduler.OneCycleLR`, over the whole training, with its peak at ``optimizer.lr``."""

    _target_: Annotated[str, OneOf("torch.optim.lr_scheduler.OneCycleLR")] = MISSING
    pct_start: Annotated[float, Gt(0), Lt(1), "fraction of the training in which the rate rises"] = 0.3
    anneal_strategy: Annotated[str, OneOf("cos", "linear"), "shape of the rise and the fall"] = "cos"
    div_factor: Annotated[float, Ge(1), "peak divided by the rate at the start"] = 25.0
    final_div_factor: Annotated[float, Ge(1), "rate at the start divided by the rate at the end"] = 1e4
    cycle_momentum: bool = False


@dataclass
class TrainerConfig:
    """Arguments of `lightning.Trainer`, under its names; ``memory_format`` and ``compile`` are torch's."""

    accelerator: Annotated[str, OneOf("auto", "cpu", "gpu", "cuda", "mps", "tpu"), "device to train on"] = "auto"
    devices: Any = "auto"
    num_nodes: Annotated[int, Ge(1), "machines; torchrun and Slurm set it themselves"] = 1
    strategy: Annotated[str, OneOf("auto", "ddp", "ddp_spawn"), "how several devices share the work"] = "auto"
    precision: Annotated[
        str,
        OneOf("auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"),
        "number format; auto: bf16-mixed if the device computes bf16 natively",
    ] = "auto"
    memory_format: Annotated[
        str,
        OneOf("auto", "channels_last", "contiguous_format"),
        "memory layout of feature maps and filters; auto: channels_last except on mps",
    ] = "auto"
    compile: Annotated[bool, "compile the network with torch.compile"] = False
    max_epochs: Annotated[int, Ge(1), "passes over the training set"] = 10
    gradient_clip_val: Annotated[Annotated[float, Gt(0)] | None, "largest norm of the gradient; null: no limit"] = None
    accumulate_grad_batches: Annotated[int, Ge(1), "batches per optimizer step"] = 1
    log_every_n_steps: Annotated[int, Ge(1), "steps between two lines of the log"] = 100
    limit_train_batches: Annotated[
        Annotated[int, Gt(0)] | Annotated[float, Gt(0)], "batches per epoch, or a fraction of them (1.0: all)"
    ] = 1.0
    profiler: Annotated[
        Annotated[str, OneOf("simple", "advanced", "pytorch")] | None, "profiler that writes into profile/"
    ] = None
    deterministic: Annotated[bool, "use only operations that repeat to the last bit on a GPU"] = False


@dataclass
class EMAConfig:
    """`digits.model.averaging.EMA`: the average of the weights that is validated, saved and tested."""

    _target_: Annotated[str, OneOf("digits.model.averaging.EMA")] = MISSING
    decay: Annotated[float, Ge(0), Lt(1), "fraction of the average that is kept at each step"] = 0.998


class _Monitor:
    monitor: str

    @property
    def mode(self) -> str:
        """Whether the largest (``max``) or the smallest (``min``) value is the best."""
        return "min" if self.monitor.endswith("loss") else "max"


@dataclass
class CheckpointConfig(_Monitor):
    """Which checkpoint is the best one, how often to save within an epoch, and whether to keep each epoch's weights."""

    monitor: Metric = "val/accuracy"
    every_n_steps: Annotated[Annotated[int, Ge(1)] | None, "optimizer steps"] = None
    every_n_seconds: Annotated[Annotated[float, Gt(0)] | None, "seconds"] = 60.0
    every_epoch: Annotated[bool, "keep the weights of every epoch, for digits draw"] = False


@dataclass
class EarlyStoppingConfig(_Monitor):
    """Arguments of `lightning.pytorch.callbacks.EarlyStopping`."""

    _target_: Annotated[str, OneOf("lightning.pytorch.callbacks.EarlyStopping")] = MISSING
    monitor: Metric = "val/loss"
    patience: Annotated[int, Ge(1), "validations without improvement before it stops"] = 3
    min_delta: Annotated[float, Ge(0), "smallest change that counts as an improvement"] = 0.0


@dataclass
class CallbacksConfig:
    """Checkpoints and early stopping."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    early_stopping: EarlyStoppingConfig | None = None


@dataclass
class TensorBoardConfig:
    """Arguments of `lightning.pytorch.loggers.TensorBoardLogger`; the run directory is filled in."""

    _target_: Annotated[str, OneOf("lightning.pytorch.loggers.TensorBoardLogger")] = MISSING
    name: str = "tensorboard"
    version: str = ""


@dataclass
class WandbConfig:
    """Arguments of `lightning.pytorch.loggers.WandbLogger`; directory, name, tags and notes come from the run."""

    _target_: Annotated[str, OneOf("lightning.pytorch.loggers.WandbLogger")] = MISSING
    project: str = "digits"
    offline: bool = False


@dataclass
class MLFlowConfig:
    """Arguments of `lightning.pytorch.loggers.MLFlowLogger`; name, tags and notes come from the run."""

    _target_: Annotated[str, OneOf("lightning.pytorch.loggers.MLFlowLogger")] = MISSING
    experiment_name: str = "digits"
    tracking_uri: Annotated[str, "database or server"] = "sqlite:///mlflow.db"


@dataclass
class LoggerConfig:
    """Where the metrics of each epoch are written."""

    csv: Annotated[bool, "write metrics.csv"] = True
    tensorboard: TensorBoardConfig | None = None
    wandb: WandbConfig | None = None
    mlflow: MLFlowConfig | None = None


@dataclass
class TrainConfig:
    """The configuration of one training."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig | None = None
    averaging: EMAConfig | None = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: Annotated[Seed, "seed of the weights, the order of the images, and dropout"] = 0
    label_smoothing: Annotated[float, Ge(0), Lt(1), "fraction of the target spread over all classes"] = 0.0
    start_from: Annotated[str | None, "a run or checkpoint whose weights the training starts from"] = None
    start_sha256: Annotated[str | None, "filled in: the checksum of that checkpoint"] = None
    freeze: Annotated[Annotated[str, OneOf("blocks")] | None, "layers that keep the weights of start_from"] = None
    evaluate_train: Annotated[bool, "evaluate the training images as well"] = False
    report: Annotated[bool, "write report/index.html at the end"] = True
    tags: Annotated[list[str], "words to find the run by: digits runs --tag WORD"] = field(default_factory=list)
    notes: Annotated[str, "a remark to keep with the run"] = ""
