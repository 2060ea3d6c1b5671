"""Which device computes, and in which precision."""

import torch

from common.errors import UserError
from common.recipes import Recipe
from common.section import Device


def select_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The device a parameter names; of several GPUs, that of the process with this number on its machine.

    Raises:
        UserError: there is none of that kind here; never silently another.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    choices = [kind for kind, available in there.items() if available]
    kind = choices[0] if wanted == "auto" else wanted
    if kind not in choices:
        raise UserError(
            f"device is {wanted!r}, which is not available here; choose auto or {', '.join(choices)}"
        )
    if kind == "cuda":
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return torch.device(kind)


def settle_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with precision ``auto`` replaced by what it means on this device.

    A processor without such instructions takes many times as long in bfloat16 as in float32.
    """
    if recipe.precision != "auto":
        return recipe
    if device.type == "cuda":
        there = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        there = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return recipe.model_copy(update={"precision": "bfloat16" if there else "float32"})
