"""The sizes of a network's layers, known before any of it is built: a wrong one is an error, not a crash."""

from common.errors import UserError


def output_size(size: int, kernel: int, padding: int = 0, stride: int = 1) -> int:
    """Width in pixels of what a convolution or a pooling makes of a width: (W - F + 2P) / S + 1, rounded down."""
    return (size - kernel + 2 * padding) // stride + 1


def lenet_sizes(image_size: int, channels: list[int], kernel_size: int) -> list[tuple[int, int]]:
    """Width in pixels after the convolution and after the pooling of each block of a LeNet.

    Raises:
        UserError: a layer would be less than one pixel wide; the line names the layer and its numbers.
    """
    sizes = []
    size = image_size
    for block in range(1, len(channels) + 1):
        convolved = output_size(size, kernel_size)
        pooled = output_size(convolved, 2, stride=2)
        if pooled < 1:
            raise UserError(
                f"convolution {block} and its pooling leave nothing of {size} pixels: "
                f"({size} - {kernel_size} + 2*0)/1 + 1 = {convolved}, then ({convolved} - 2 + 2*0)/2 + 1 = {pooled}; "
                f"choose fewer channels ({channels} makes {len(channels)} blocks), a smaller kernel_size "
                f"({kernel_size}) or a larger image_size ({image_size})"
            )
        sizes.append((convolved, pooled))
        size = pooled
    return sizes


def whitened_sizes(image_size: int, channels: list[int], kernel_size: int) -> list[int]:
    """Width in pixels after the whitening and after each group of a whitened network.

    Raises:
        UserError: nothing is left of the picture, or the filters have no centre.
    """
    if kernel_size % 2 == 0:
        raise UserError(f"kernel_size is {kernel_size}; the network 'whitened' needs an odd one")
    sizes = [output_size(image_size, 2)]
    for _ in channels:
        sizes.append(output_size(sizes[-1], 2, stride=2))
    if sizes[-1] < 1:
        raise UserError(
            f"whitening and {len(channels)} poolings leave {', '.join(map(str, sizes))} of {image_size} pixels; "
            f"choose fewer channels ({channels} makes {len(channels)} groups) or larger pictures"
        )
    return sizes
