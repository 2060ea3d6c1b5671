"""The table of a network's layers."""

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


@torch.inference_mode()
def run_once(network: nn.Module, image_size: int) -> dict[str, torch.Size]:
    """The output shape, (1, ...), of each of a network's parts, for a picture of this size."""
    shapes = {}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        return layer.register_forward_hook(lambda *call: shapes.update({name: call[-1].shape}))

    watches = [watch(name, layer) for name, layer in network.named_children()]
    network.eval()(
        torch.zeros(1, 3, image_size, image_size)
    )  # batch norm takes no notice of the picture
    for each in watches:
        each.remove()
    return shapes


def layer_table(network: nn.Module, image_size: int) -> str:
    """A line a layer, or a part that has layers itself: name, kind, output shape without N, number of parameters."""
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
