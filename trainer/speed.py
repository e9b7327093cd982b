"""How fast a run trains, as a share of what its devices could do, and what memory it takes.

MFU (model FLOP utilisation; Chowdhery et al. 2022, PaLM, appendix B) is tokens a second of one GPU
times the FLOPs that the model needs for a token, over the peak of the GPU. FLOPs of a token are
those of `trainer.model.flops_per_token`: 6 for each active weight that multiplies it, attention
counted causal, so half of what PaLM counts, and nothing for what is computed again. The peak is the
maker's figure for dense bfloat16 products. So there is no MFU where the peak is not known, and in
float32, unless `metrics.peak_tflops` names one.
"""

import re
import resource
import sys
from dataclasses import dataclass
from typing import Any, Self

import torch

from trainer.config import TrainConfig
from trainer.model import flops_per_token
from trainer.parallel import World, compute_type

PEAK_TFLOPS = (
    ("H200 NVL", 835.5), ("H200", 989.0), ("GH200", 989.0), ("H100 NVL", 835.5),
    ("H100 PCIe", 756.4), ("H100", 989.0), ("H800", 989.0), ("GB200", 2500.0), ("B200", 2250.0),
    ("A100", 312.0), ("A800", 312.0), ("L40S", 362.05), ("L40", 181.05), ("A40", 149.7),
    ("A10", 125.0), ("L4", 121.0), ("MI325X", 1307.4), ("MI300X", 1307.4), ("MI250X", 191.5),
)  # fmt: skip
"""Dense bfloat16 peak in TFLOP/s by part of the device's name, as a word, from the makers' data
sheets; the first that fits holds. torch takes each half of an MI250X for a device."""
CLOCKED = ("tokens_per_s", "tokens_per_s_gpu", "mfu", "memory_gib", "eval_s")
"""Keys of rows that depend on the machine; all others are repeated exactly by a resumed run."""


@dataclass(frozen=True)
class Speed:
    """Turns tokens a second of all devices into what the metrics say."""

    device: str
    """Name of the device."""
    devices: int
    flops_per_token: float
    """Forward and backward, as the module says."""
    peak_flops: float | None
    """Of one device, FLOP/s; None where it is not known."""

    @classmethod
    def of(cls, config: TrainConfig, world: World, length: int) -> Self:
        """Find the device's peak; length: inputs of an instance."""
        on_gpu = world.device.type == "cuda"
        name = torch.cuda.get_device_name(world.device) if on_gpu else world.device.type
        peak = config.metrics.peak_tflops
        if peak is None and compute_type(config, world) == torch.bfloat16:
            peak = peak_tflops(name)
        flops = flops_per_token(config.model, length)
        return cls(name, world.size, flops, None if peak is None else peak * 1e12)

    def facts(self, tokens_per_s: float) -> dict[str, Any]:
        """Say how fast it was and what memory it took; nothing waits for the device."""
        each = tokens_per_s / self.devices
        mfu = None if self.peak_flops is None else each * self.flops_per_token / self.peak_flops
        return {
            "tokens_per_s": round(tokens_per_s, 1),
            "tokens_per_s_gpu": round(each, 1),
            "mfu": None if mfu is None else round(mfu, 4),
            "memory_gib": memory_gib(on_gpu=self.device != "cpu"),
        }

    def explain(self) -> str:
        """One line: the convention of MFU, and the peak."""
        flops = f"{self.flops_per_token / 1e9:.4g} GFLOP a token"
        counted = "6 an active weight, causal attention counted half, nothing computed again"
        if self.peak_flops is None:
            return f"no MFU: no peak is known of {self.device} (metrics.peak_tflops sets one)"
        return f"MFU: {flops} ({counted}) of {self.peak_flops / 1e12:g} TFLOP/s ({self.device})"


def peak_tflops(device: str) -> float | None:
    """Dense bfloat16 peak of a device by its name, TFLOP/s; None where it is not known."""
    fitting = (peak for part, peak in PEAK_TFLOPS if re.search(rf"\b{part}\b", device))
    return next(fitting, None)


def memory_gib(*, on_gpu: bool) -> dict[str, float]:
    """Peak memory of this process so far, GiB: on its GPU, or of a CPU's process."""
    if on_gpu:
        return {
            "allocated": round(torch.cuda.max_memory_allocated() / 2**30, 3),
            "reserved": round(torch.cuda.max_memory_reserved() / 2**30, 3),
        }
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"resident": round(resident / 2**30, 3)}
