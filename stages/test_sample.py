"""Show random test images, each with its name and the class that the model predicts.

A right prediction is green, a wrong one red and in brackets. Reads models/classifier.safetensors,
the test images of data/arrays with their labels and names, and params test_sample and
evaluate.test_time_augmentation; writes reports/test_sample.png. Takes about three seconds, most of
them for importing torch.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import numpy as np

from common.arrays import load_images, read_file_names
from common.files import REPORTS
from common.params import load_params
from figures.grid import Caption, image_grid
from figures.style import GREEN, RED, save_figure, shorten
from model.classifier import predict
from model.device import select_device
from model.file import check_fits, load_classifier

CLASS_LENGTH = 24  # characters of a class that are shown


def main() -> None:
    params = load_params()
    test = load_images("test", params.download)
    classifier = load_classifier(augmentation=params.evaluate.test_time_augmentation)
    classifier.to(select_device(params.machine.device))
    check_fits(classifier, test.dataset)

    count = min(params.test_sample.images, len(test.images))
    chosen = np.random.default_rng(params.test_sample.seed).permutation(len(test.images))[:count]
    predicted = predict(classifier, test.images, chosen, batch_size=count).argmax(dim=1).numpy()

    actual, files = test.labels[chosen], read_file_names("test", chosen)
    captions = [
        caption(test.dataset.classes[label], test.dataset.classes[answer], file)
        for label, answer, file in zip(actual, predicted, files, strict=True)
    ]
    right = f"{int((predicted == actual).sum())} of {count} random test images right"
    subtitle = f"{classifier.description.title}: {right}; (wrong) in brackets"
    figure = image_grid(test.images.read(chosen), captions, "Objects Found by Model", subtitle)
    save_figure(figure, REPORTS / "test_sample.png")


def caption(actual: str, predicted: str, file: str) -> Caption:
    """Return the verdict on one image, on two lines where the names of the classes are long."""
    answer, truth = shorten(predicted, CLASS_LENGTH), shorten(actual, CLASS_LENGTH)
    if predicted == actual:
        return Caption(truth, GREEN, file)
    space = " " if len(answer) + len(truth) <= CLASS_LENGTH else "\n"
    return Caption(f"({answer}){space}is {truth}", RED, file)


if __name__ == "__main__":
    run(main)
