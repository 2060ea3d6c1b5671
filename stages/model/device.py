"""The device that computes, and the precision in which it does."""

import torch

from common.errors import UserError
from common.recipes import Recipe
from common.section import Device


def select_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """Return the device that a parameter names; ``auto`` is the first available of cuda, mps, cpu.

    Args:
        wanted: the parameter.
        local_rank: this process's number on its machine, which picks one of several GPUs.

    Raises:
        UserError: This machine has no such device; another is never used instead.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    choices = [kind for kind in available if available[kind]]
    kind = choices[0] if wanted == "auto" else wanted
    if kind not in choices:
        raise UserError(
            f"device is {wanted!r}, which is not available here; "
            f"choose auto or {', '.join(choices)}"
        )
    if kind == "cuda":
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return torch.device(kind)


def settle_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """Return the recipe with ``auto`` replaced by bfloat16 if the device computes in it, else
    float32.

    A processor without instructions for bfloat16 takes many times as long in it as in float32.
    """
    if recipe.precision != "auto":
        return recipe
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return recipe.model_copy(update={"precision": "bfloat16" if fast else "float32"})
