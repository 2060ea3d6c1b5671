"""The sizes of a network's layers, known before any of them is built."""

from common.errors import UserError


def output_size(size: int, kernel: int, padding: int = 0, stride: int = 1) -> int:
    """Return the width in pixels after a convolution or a pooling: (W - F + 2P) / S + 1, rounded
    down.
    """
    return (size - kernel + 2 * padding) // stride + 1


def lenet_sizes(image_size: int, channels: list[int], kernel_size: int) -> list[tuple[int, int]]:
    """Return the width in pixels after the convolution and after the pooling of each block.

    Raises:
        UserError: A layer would be less than one pixel wide. The line names it and its numbers.
    """
    sizes = []
    size = image_size
    for block in range(1, len(channels) + 1):
        convolved = output_size(size, kernel_size)
        pooled = output_size(convolved, 2, stride=2)
        if pooled < 1:
            raise UserError(
                f"network: convolution {block} and its pooling leave nothing of {size} pixels: "
                f"({size} - {kernel_size} + 2*0)/1 + 1 = {convolved}, then "
                f"({convolved} - 2 + 2*0)/2 + 1 = {pooled}; choose fewer channels ({channels}, "
                f"one per block), a smaller kernel_size ({kernel_size}) or a larger "
                f"image_size ({image_size})"
            )
        sizes.append((convolved, pooled))
        size = pooled
    return sizes


def whitened_sizes(image_size: int, channels: list[int], kernel_size: int) -> list[int]:
    """Return the width in pixels after the whitening and after each group of convolutions.

    Raises:
        UserError: Nothing is left of the image; the filters have no centre or exceed the image.
    """
    if kernel_size % 2 == 0:
        raise UserError(f"network.kernel_size is {kernel_size}; network whitened needs an odd one")
    if kernel_size > image_size:
        raise UserError(
            f"network.kernel_size is {kernel_size}; it must not exceed the images, which are "
            f"{image_size} pixels wide"
        )
    sizes = [output_size(image_size, 2)]
    for _ in channels:
        sizes.append(output_size(sizes[-1], 2, stride=2))
    if sizes[-1] < 1:
        raise UserError(
            f"network: whitening and {len(channels)} poolings leave "
            f"{', '.join(map(str, sizes))} of {image_size} pixels; "
            f"choose fewer channels ({channels}, one per group) or larger images"
        )
    return sizes
