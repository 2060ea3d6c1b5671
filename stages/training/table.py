"""A network run once: its table of layers, and whether it takes the recipe's image sizes."""

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from common.errors import UserError
from common.network_options import LIBRARIES
from common.recipes import Recipe
from model.networks import published_size


def check_image_sizes(network: nn.Module, recipe: Recipe, image_size: int) -> None:
    """Check that a library's model takes every image size that the recipe gives it.

    The sizes of the project's own networks are checked with the parameters.

    Raises:
        UserError: The model fails on a size.
    """
    if not isinstance(recipe.network, LIBRARIES):
        return
    sizes = sorted({image_size, *recipe.train_sizes})
    try:
        for size in sizes:
            run_once(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{recipe.network.name}'s {recipe.network.model} does not take images of "
            f"{' and '.join(map(str, sizes))} pixels ({reason}); it is published for "
            f"{published_size(recipe.network)}; choose another "
            "download.image_size or progressive_resizing.sizes, or another network"
        ) from None


@torch.inference_mode()
def run_once(network: nn.Module, image_size: int) -> dict[str, torch.Size]:
    """Run a network on one black image; return the output shape, (1, ...), of each child module by
    its name. Those that return several tensors, as some of timm's do, are left out.
    """
    shapes = {}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def note(_: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                shapes[name] = output.shape

        return layer.register_forward_hook(note)

    hooks = [watch(name, layer) for name, layer in network.named_children()]
    network.eval()(torch.zeros(1, 3, image_size, image_size))  # eval: batch norm learns nothing
    for hook in hooks:
        hook.remove()
    return shapes


def layer_table(network: nn.Module, image_size: int) -> str:
    """Return one row per child module: name, type, output shape without N, parameter count."""
    rows = [("input", "", f"3 x {image_size} x {image_size}", "")]
    shapes = run_once(network, image_size)
    for name, layer in network.named_children():
        parameters = sum(tensor.numel() for tensor in layer.parameters())
        shape = " x ".join(map(str, shapes[name][1:])) if name in shapes else ""
        rows.append((name, type(layer).__name__, shape, f"{parameters:,}" if parameters else ""))
    rows.append(("total", "", "", f"{sum(tensor.numel() for tensor in network.parameters()):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:{widths[0]}}  {layer:{widths[1]}}  {shape:>{widths[2]}}  {parameters:>{widths[3]}}"
        for name, layer, shape, parameters in rows
    )
