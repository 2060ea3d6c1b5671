"""Augmentation for photographs: crop, zoom and rotation in one sampling; colour; erasing.

For each, one function draws amounts for every image of the training set, on the CPU, and another
applies those of a batch to its images, on their device. Positions in an image are -1..1 from its
left to its right edge and from top to bottom, x before y, so no amount depends on its size.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from common.augment_options import Augmentations

CROP_RATIO = 4 / 3  # of width and height at most, as in torchvision's RandomResizedCrop
ERASED_RATIO = 10 / 3  # as in arXiv:1708.04896
ERASED_AREA = (0.02, 0.33)  # share of the image, as in torchvision's RandomErasing
GRAY = (0.299, 0.587, 0.114)  # of red, green and blue in a gray value, by ITU-R BT.601


def draw_boxes(smallest: float, largest: float, ratio: float, uniform: Tensor) -> Tensor:
    """Draw rectangles that lie in the image, with areas that are uniform between two shares of it.

    The logarithm of width / height is uniform between those of 1 / ``ratio`` and ``ratio``, or as
    far from 0 as a rectangle of this area fits. torchvision draws again, at most ten times, where
    one does not fit, so large ones are rarer there.

    Args:
        smallest: share of the image's area.
        largest: share of the image's area.
        ratio: of the longer side to the shorter one at most.
        uniform: random numbers, -1..1, float32 (count, 4).

    Returns:
        float32 (count, 4): width and height, as shares of the image's, and the centre.
    """
    area = smallest + (largest - smallest) * (uniform[:, 0] + 1) / 2
    slant = uniform[:, 1] * (-area.log()).clamp(max=math.log(ratio))
    sides = (torch.stack([slant, -slant], dim=1) / 2).exp() * area.sqrt()[:, None]
    return torch.cat([sides, (1 - sides) * uniform[:, 2:]], dim=1)


def draw_maps(options: Augmentations, flips: Tensor, uniform: Tensor) -> Tensor:
    """Draw crops, zooms and rotations, and add the mirroring.

    Args:
        options: how large they may be.
        flips: bool (count,), True for the images to mirror left to right, before all else.
        uniform: random numbers, -1..1, float32 (count, 6).

    Returns:
        float32 (count, 2, 3): per image the affine map from (x, y, 1) in the augmented image to
        (x, y) in the image itself.
    """
    box = draw_boxes(options.crop, 1.0, CROP_RATIO, uniform[:, :4])
    zoom = 1 + options.zoom * uniform[:, 4]
    angle = math.radians(options.rotation) * uniform[:, 5]
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    maps = torch.cat([box[:, :2, None] * turn, box[:, 2:, None]], dim=2)
    return torch.where(flips[:, None, None] & torch.tensor([[True], [False]]), -maps, maps)


def sample(images: Tensor, maps: Tensor, shifts: Tensor) -> Tensor:
    """Shift images, then sample them bilinearly at the positions that affine maps give.

    What lies outside is the reflection at the edge. Nothing is smoothed before, since no map
    shrinks an image to less than half of its size.

    Args:
        images: uint8 (n, 3, size, size).
        maps: as ``draw_maps`` returns them, float32 (n, 2, 3).
        shifts: int64 (n, 2), pixels down and right.

    Returns:
        float32 (n, 3, size, size), pixels in 0..255.
    """
    size = images.shape[3]
    across, down, offset = maps[..., None].unbind(dim=2)  # (n, 2, 1) each
    offset = offset - shifts.flip(1)[..., None] * (2 / size)
    centers = pixel_centers(size, images.device)
    positions = (down * centers + offset)[..., None] + (across * centers)[:, :, None]
    grid = positions.permute(0, 2, 3, 1)  # (n, size, size, 2)
    return grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def draw_colors(options: Augmentations, uniform: Tensor) -> Tensor:
    """Draw the factors of brightness, contrast and saturation.

    Args:
        options: how far from 1 they may be.
        uniform: random numbers, -1..1, float32 (count, 3).

    Returns:
        float32 (count, 3).
    """
    most = torch.tensor([options.brightness, options.contrast, options.saturation])
    return 1 + most * uniform


def change_colors(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation, each as in torchvision's ColorJitter.

    The three are one linear map per image, and pixels are clipped once, behind all of them.

    Args:
        images: (n, 3, H, W), pixels in 0..255.
        factors: float32 (n, 3).

    Returns:
        float32 (n, 3, H, W), pixels in 0..255.
    """
    images = images.float()
    gray = torch.tensor(GRAY, device=images.device)
    brightness, contrast, saturation = factors[:, :, None, None].unbind(dim=1)  # (n, 1, 1) each
    mean = (images.mean(dim=(2, 3)) @ gray)[:, None, None]  # of the image's gray values
    mixed = saturation * torch.eye(3, device=images.device) + (1 - saturation) * gray  # (n, 3, 3)
    pixels = torch.baddbmm(
        brightness * (1 - contrast) * mean, brightness * contrast * mixed, images.flatten(2)
    )
    return pixels.clamp_(0, 255).view(images.shape)


def draw_erased(probability: float, uniform: Tensor) -> Tensor:
    """Draw the rectangle to erase per image, without width and height where none is erased.

    Args:
        probability: of an image to have one.
        uniform: random numbers, -1..1, float32 (count, 5).

    Returns:
        float32 (count, 4): width and height, as shares of the image's, and the centre.
    """
    boxes = draw_boxes(*ERASED_AREA, ERASED_RATIO, uniform[:, :4])
    return boxes * (uniform[:, 4:] + 1 < 2 * probability)


def erase(images: Tensor, boxes: Tensor, color: Tensor) -> Tensor:
    """Fill a rectangle of each image with a colour (arXiv:1708.04896).

    Args:
        images: (n, 3, size, size).
        boxes: as ``draw_erased`` returns them, float32 (n, 4).
        color: float32 (3,).

    Returns:
        float32 (n, 3, size, size).
    """
    centers = pixel_centers(images.shape[3], images.device)
    inside = ((centers - boxes[:, 2:, None]).abs() < boxes[:, :2, None]).float()  # (n, 2, size)
    weights = inside[:, None, 1, :, None] * inside[:, None, 0, None, :]  # (n, 1, size, size)
    return torch.lerp(images.float(), color.to(images.device).view(3, 1, 1), weights)


def pixel_centers(size: int, device: torch.device) -> Tensor:
    """Return the positions of the centres of ``size`` pixels in a row, float32 (size,)."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1
