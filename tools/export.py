"""A trained model as ONNX, for programs without PyTorch; checked against PyTorch before it is written.

    python tools/export.py [--model models/classifier.safetensors] [--output models/classifier.onnx]

One file with all in it: input ``images``, uint8 (N, 3, H, W) for any N, RGB, already of the model's picture size;
output ``probabilities``, float32 (N, classes). Normalisation and test-time averaging are inside. Its metadata hold
``classes`` (JSON, in label order), ``image_size`` and ``description``, what the model file says of itself (JSON).

It computes in float32, also when the recipe does in bfloat16, for which ONNX Runtime has no convolutions on the CPU.
Both then judge 256 test pictures, or made-up ones where no data fit the model. If a class differs, or a probability by
more than 0.001, nothing is written and the status is 1. Up to a minute. Needs `pip install -e '.[export]'`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import contextlib
import json
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Array, load_images
from common.errors import UserError
from common.files import MODEL, write_bytes
from common.progress import Progress
from model.classifier import Classifier
from model.file import check_fits, load_classifier

PACKAGES = ["onnx", "onnxscript", "onnxruntime"]
PICTURES = 256  # to check with
AT_A_TIME = 100  # another number than it is exported with, and the last batch is smaller
TOLERANCE = 1e-3  # of a probability


class Probabilities(nn.Module):
    """What is exported: uint8 (N, 3, H, W) to float32 (N, classes)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.average(images).softmax(dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="%(default)s if left out")
    parser.add_argument(
        "--output", type=Path, default=MODEL.with_suffix(".onnx"), help="%(default)s if left out"
    )
    arguments = parser.parse_args()
    check_packages()
    if arguments.output.is_dir():
        raise UserError(f"--output {arguments.output}: is a folder; name a file")

    classifier = load_classifier(arguments.model)
    model = Probabilities(in_float32(classifier)).eval()
    images, origin = pictures(classifier)
    print("exporting", file=sys.stderr, flush=True)
    content, opset = to_onnx(model, classifier)
    difference = compare(model, content, images)
    write_bytes(arguments.output, content)
    print(f"{arguments.output}: {len(content) / 1e6:.2f} MB, opset {opset}")
    print(
        f"{len(images)} {origin}: the same classes; probabilities differ by {difference:.1e} at most"
    )


def check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; run `pip install -e '.[export]'`")


def in_float32(classifier: Classifier) -> Classifier:
    """The same classifier, to compute in float32 whatever its recipe says."""
    description = classifier.description
    if description.recipe.precision != "float32":
        print(
            f"the recipe's precision is {description.recipe.precision}; exported as float32",
            file=sys.stderr,
        )
    recipe = description.recipe.model_copy(update={"precision": "float32"})
    copy = Classifier(description.model_copy(update={"recipe": recipe}))
    copy.network.load_state_dict(classifier.network.state_dict())
    return copy


def pictures(classifier: Classifier) -> tuple[Array, str]:
    """Pictures to check with, uint8 (n, 3, H, W), and what they are: test pictures, or made-up ones and why."""
    size = classifier.description.image_size
    try:
        test = load_images("test")
        check_fits(classifier, test.dataset)
    except UserError as error:
        made_up = np.random.default_rng(0).integers(0, 256, (PICTURES, 3, size, size), np.uint8)
        return made_up, f"made-up pictures ({error})"
    chosen = np.linspace(0, len(test.images) - 1, min(PICTURES, len(test.images))).astype(
        np.int64
    )  # of every class
    return test.images.read(chosen), f"test pictures of {test.dataset.name}"


def to_onnx(model: Probabilities, classifier: Classifier) -> tuple[bytes, int]:
    """The model as an ONNX file's bytes, and its opset."""
    from onnx_ir.passes.common import (
        ClearMetadataAndDocStringPass,  # a second or two that --help need not wait
    )

    description = classifier.description
    size = description.image_size
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with contextlib.redirect_stdout(sys.stderr):
        exported = torch.onnx.export(
            model,
            (example,),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert exported is not None
    ClearMetadataAndDocStringPass()(
        exported.model
    )  # of every node, the lines of code with the paths of this machine
    exported.model.metadata_props.update(
        classes=json.dumps(description.classes, ensure_ascii=False),
        image_size=str(size),
        description=description.model_dump_json(),
    )
    content: bytes = exported.model_proto.SerializeToString(deterministic=True)
    return content, exported.model.opset_imports[""]


@torch.inference_mode()
def compare(model: Probabilities, content: bytes, images: Array) -> float:
    """The largest difference between PyTorch's and ONNX Runtime's probabilities.

    Raises:
        UserError: it is more than ``TOLERANCE``, or a class differs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences, changed = [], 0
    with Progress(total=len(images), desc="Check", unit="picture") as progress:
        for start in range(0, len(images), AT_A_TIME):
            batch = images[start : start + AT_A_TIME]
            ours = model(torch.from_numpy(batch)).numpy()
            (theirs,) = session.run(["probabilities"], {"images": batch})
            differences.append(np.abs(ours - theirs).max())
            changed += int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
            progress.update(len(batch))
    largest = float(np.max(differences))  # NaN if one is
    if changed or not largest <= TOLERANCE:
        raise UserError(
            f"ONNX Runtime and PyTorch give {changed} of {len(images)} pictures another class, and probabilities that "
            f"differ by {largest:.1e}; 0 and {TOLERANCE:g} are allowed, so nothing is written; try other versions of "
            f"{', '.join(PACKAGES)}"
        )
    return largest


if __name__ == "__main__":
    run_tool(main)
