"""What the processor can do."""

from functools import cache

import torch


@cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices in hardware (AVX-512 BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


@cache
def cpu_is_wide() -> bool:
    """Whether torch's kernels for this processor compute on 256 bits or more at once (AVX2, AVX-512)."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
