"""scikit-learn's handwritten digits, which come with it: 1,797 images of 8 x 8 pixels in grey."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from common.params import Download
from common.stage import importing
from sources.decode import to_array
from sources.keys import image_key
from sources.parallel import Decoded
from sources.source import Source, SourceImage


def digits(download: Download) -> Source:
    """Return the digits; their names are their numbers in scikit-learn's order."""
    with importing():  # two seconds that other data sets need not wait
        from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = (bundle.images * 255 / 16).round().astype(np.uint8)  # (N, 8, 8), of 17 levels

    def images() -> Iterator[SourceImage]:
        for number, (image, label) in enumerate(zip(grey, bundle.target.tolist(), strict=True)):
            key = image_key(str(number), image.tobytes(), None)
            pixels = to_array(Image.fromarray(image).convert("RGB"), download.image_size)
            yield SourceImage(str(number), "train", label, key, Decoded(pixels, (8, 8)))

    return Source(
        name="digits",
        classes=[str(name) for name in bundle.target_names],
        origin="scikit-learn's digits",
        sha256=None,
        has_splits=False,
        count=len(grey),
        images=images(),
    )
