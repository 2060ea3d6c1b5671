"""A trained model as ONNX, for programs without PyTorch; checked before it is written.

    python tools/export.py [--model models/classifier.safetensors] [--output models/classifier.onnx]
                           [--test-time-augmentation recipe]

One file with all in it: input ``images``, uint8 (N, 3, H, W) for any N, RGB, already of the model's
image size; output ``probabilities``, float32 (N, classes). Normalisation, test-time augmentation
and temperature are inside. Its metadata hold ``classes`` (JSON, in label order), ``image_size``,
``fit``, ``test_time_augmentation`` and ``description``, which is what the model file says of itself
(JSON). Without --output, it is written beside the model.

It computes in float32, also when the recipe does in bfloat16, for which ONNX Runtime has no
convolutions on the CPU. PyTorch and ONNX Runtime then predict 256 test images, or generated ones
where no data fit the model. If a class differs, or a probability by more than 0.001, nothing is
written and the status is 1. Takes up to a minute, and `pip install -e '.[export]'`.
"""

import _paths  # noqa: F401
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import contextlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Array, load_images
from common.errors import UserError, printable
from common.files import MODEL, write_bytes
from common.progress import Progress
from model.classifier import Classifier, in_doubt
from model.file import check_fits, load_classifier
from model.networks import load_weights
from shared.options import add_test_time_augmentation
from shared.output import check_output

PACKAGES = ["onnx", "onnxscript", "onnxruntime"]
IMAGES = 256  # to check with
BATCH_SIZE = 100  # another number than is exported with, and the last batch is smaller
TOLERANCE = 1e-3  # of a probability


class Probabilities(nn.Module):
    """The model that is exported: uint8 (N, 3, H, W) to float32 (N, classes)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        # As ``average`` does, but for all images: a graph computes the same for each.
        logits = torch.stack([self.classifier(view) for view in self.classifier.views(images)])
        doubtful = in_doubt(logits[0])[:, None]
        return self.classifier.probabilities(torch.where(doubtful, logits.mean(dim=0), logits[0]))


def main() -> None:
    arguments = parse()
    check_output("--output", arguments.output, ".onnx", [arguments.model])
    check_packages()
    classifier = load_classifier(arguments.model, arguments.test_time_augmentation)
    model = Probabilities(in_float32(classifier)).eval()
    images, origin = images_to_check(classifier)
    print("exporting", file=sys.stderr, flush=True)
    content, opset = to_onnx(model, classifier)
    difference = compare(model, content, images)
    write_bytes(arguments.output, content)
    print(printable(f"{arguments.output}: {len(content) / 1e6:.2f} MB, opset {opset}"))
    print(
        f"{len(images)} {printable(origin)}: the same classes; "
        f"probabilities differ by {difference:.1e} at most"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="default: beside the model, ending in .onnx")
    add_test_time_augmentation(parser)
    arguments = parser.parse_args()
    if arguments.output is None:
        arguments.output = arguments.model.with_suffix(".onnx")
    return arguments


def check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; run `pip install -e '.[export]'`")


def in_float32(classifier: Classifier) -> Classifier:
    """Return a copy of the classifier that computes in float32, whatever its recipe says."""
    description = classifier.description
    precision = description.recipe.precision
    if precision != "float32":
        print(f"the recipe's precision is {precision}; exported as float32", file=sys.stderr)
    recipe = description.recipe.model_copy(update={"precision": "float32"})
    copy = Classifier(description.model_copy(update={"recipe": recipe}))
    copy.test_time_augmentation = classifier.test_time_augmentation
    load_weights(copy.network, classifier.network.state_dict())
    return copy


def images_to_check(classifier: Classifier) -> tuple[Array, str]:
    """Return test images, uint8 (n, 3, H, W), or generated ones if there are none; and which."""
    size = classifier.description.image_size
    try:
        test = load_images("test")
        check_fits(classifier, test.dataset)
    except UserError as error:
        generated = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, size, size), np.uint8)
        return generated, f"generated images ({error})"
    count = min(IMAGES, len(test.images))
    # Spread over the whole file, which may be sorted by class.
    chosen = np.linspace(0, len(test.images) - 1, count).astype(np.int64)
    return test.images.read(chosen), f"test images of {test.dataset.name}"


def to_onnx(model: Probabilities, classifier: Classifier) -> tuple[bytes, int]:
    """Return the bytes of the model's ONNX file, and its opset."""
    # Takes a second or two, which --help does not need.
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    description = classifier.description
    size = description.image_size
    with contextlib.redirect_stdout(sys.stderr):
        exported = torch.onnx.export(
            model,
            (torch.zeros(2, 3, size, size, dtype=torch.uint8),),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert exported is not None
    # Each node has the lines of code that it comes from, with the paths of this machine.
    ClearMetadataAndDocStringPass()(exported.model)
    exported.model.metadata_props.update(
        classes=json.dumps(description.classes, ensure_ascii=False),
        image_size=str(size),
        fit=description.fit,
        test_time_augmentation=classifier.test_time_augmentation,
        description=description.model_dump_json(),
    )
    content: bytes = exported.model_proto.SerializeToString(deterministic=True)
    return content, exported.model.opset_imports[""]


@torch.inference_mode()
def compare(model: Probabilities, content: bytes, images: Array) -> float:
    """Return the largest difference between PyTorch's and ONNX Runtime's probabilities.

    Raises:
        UserError: The difference is more than ``TOLERANCE``, or a class differs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences, changed = [], 0
    with Progress(total=len(images), desc="Check", unit="image") as progress:
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            ours = model(torch.from_numpy(batch)).numpy()
            (theirs,) = session.run(["probabilities"], {"images": batch})
            differences.append(np.abs(ours - theirs).max())
            changed += int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
            progress.update(len(batch))
    largest = float(np.max(differences))  # NaN if one is
    if changed or not largest <= TOLERANCE:
        raise UserError(
            f"ONNX Runtime and PyTorch give {changed} of {len(images)} images another class, and "
            f"probabilities that differ by {largest:.1e}; 0 and {TOLERANCE:g} are allowed, so "
            f"nothing is written; try other versions of {', '.join(PACKAGES)}"
        )
    return largest


if __name__ == "__main__":
    run_tool(main)
