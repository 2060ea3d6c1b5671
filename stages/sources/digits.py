"""scikit-learn's handwritten digits, which come with it: 1,797 images of 8 x 8 pixels in grey."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from common.params import Download
from sources.decode import to_array
from sources.keys import held_out, image_key
from sources.parallel import Decoded
from sources.source import Source, SourceImage


def digits(download: Download) -> Source:
    """Return the digits; their names are their numbers in scikit-learn's order."""
    from sklearn.datasets import load_digits  # two seconds that other data sets need not wait

    bundle = load_digits()
    classes = [str(name) for name in bundle.target_names]
    grey = (bundle.images * 255 / 16).round().astype(np.uint8)  # (N, 8, 8), of 17 levels
    keys = [image_key(str(number), image.tobytes(), None) for number, image in enumerate(grey)]
    is_test = held_out(np.array(keys, np.uint64), bundle.target, classes, download)

    def images() -> Iterator[SourceImage]:
        for number, image in enumerate(grey):
            pixels = to_array(Image.fromarray(image).convert("RGB"), download.image_size)
            yield SourceImage(
                name=str(number),
                split="test" if is_test[number] else "train",
                label=int(bundle.target[number]),
                key=keys[number],
                decoded=Decoded(pixels, (8, 8)),
            )

    return Source("digits", classes, "scikit-learn's digits", None, len(grey), images())
