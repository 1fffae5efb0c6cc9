"""Chooses what the device computes fastest: precision, memory format and optimizer kernel."""

import ctypes
import logging
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from digits.config import TrainConfig
from digits.errors import UserError

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # constants of malloc.h


@dataclass(frozen=True)
class ComputeSettings:
    """How a network is computed.

    Attributes:
        precision: Lightning's name of the number format, such as ``bf16-mixed``.
        memory_format: torch's name of the memory layout, such as ``channels_last``.
        optimizer: The optimizer's configuration, with ``fused`` chosen.
    """

    precision: str
    memory_format: str
    optimizer: dict[str, Any]


def choose(cfg: TrainConfig, before: str | None = None) -> ComputeSettings:
    """Choose what the configuration leaves to the device, and log the choice.

    Args:
        cfg: The checked configuration.
        before: The precision of the run before it was interrupted; None for a new run.

    Raises:
        UserError: If the device does not exist.
    """
    accelerator = cfg.trainer.accelerator
    cuda, mps = CUDAAccelerator.is_available(), MPSAccelerator.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(accelerator, True):
        raise UserError(
            f"trainer.accelerator={accelerator}: torch finds no such device here; use trainer.accelerator=cpu, or auto."
        )
    on_cuda = cuda and accelerator in ("auto", "gpu", "cuda")
    on_mps = mps and not on_cuda and accelerator in ("auto", "gpu", "mps")
    precision, why = cfg.trainer.precision, ""
    if before:
        precision, why = before, " (as before)"
    elif precision == "auto":
        native, name = _computes_bf16(on_cuda, on_mps)
        precision = "bf16-mixed" if native else "32-true"
        why = f" ({name} {'computes bf16 natively' if native else 'may not compute bf16 natively'})"
    memory_format = cfg.trainer.memory_format
    if memory_format == "auto":
        memory_format = "contiguous_format" if on_mps else "channels_last"
    optimizer, kernel = asdict(cfg.optimizer), "not fused"
    if optimizer.get("fused", False) is not False and accelerator != "tpu":
        optimizer["fused"], kernel = True, "fused"
        if cfg.trainer.gradient_clip_val is not None and precision.endswith("mixed"):
            # Lightning cannot clip between the two halves of a fused step in mixed precision.
            optimizer["fused"], kernel = False, f"not fused, for trainer.gradient_clip_val in {precision}"
    log.info("Precision %s%s, memory format %s, optimizer %s.", precision, why, memory_format, kernel)
    return ComputeSettings(precision, memory_format, optimizer)


def _computes_bf16(on_cuda: bool, on_mps: bool) -> tuple[bool, str]:
    """Whether the device is known to compute bf16 natively, and its name for the log."""
    if on_cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False), torch.cuda.get_device_name()
    if on_mps:
        return False, "this GPU"
    # Native only on x86, and not if ATEN_CPU_CAPABILITY excludes AVX-512: torch then emulates it. No public names yet.
    avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return avx512 and native, "this processor"


def speed_up() -> None:
    """Apply process-wide settings that save time on every step."""
    _keep_memory()
    if not CUDAAccelerator.is_available():
        # torch's optimizers ask on every step whether there is a GPU. Lightning makes that check fork-safe, which takes
        # 0.1 ms each time.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def _keep_memory() -> None:
    """Make glibc keep freed memory, for the rest of the process.

    By default it returns large blocks to the system, and gets them back page by page for the feature maps of the next
    step: about a seventh of a step's time on the CPU (benchmarks/README.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
