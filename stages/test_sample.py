"""Show random test pictures with the class the model gives each: green when right, red and in brackets when wrong.

Reads models/classifier.safetensors, data/images (test pictures and labels) and params test_sample and evaluate; writes
reports/test_sample.png. About three seconds, most of them for importing torch.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import numpy as np

from common.arrays import load_images
from common.files import REPORTS
from common.params import load_params
from figures.grid import Caption, picture_grid
from figures.style import GREEN, RED, save_figure
from model.classifier import predict
from model.file import check_fits, load_classifier


def main() -> None:
    params = load_params()
    test = load_images("test")
    classifier = load_classifier(augmentation=params.evaluate.test_time_augmentation)
    check_fits(classifier, test.dataset)

    count = min(params.test_sample.images, len(test.images))
    chosen = np.random.default_rng(params.test_sample.seed).permutation(len(test.images))[:count]
    predicted = predict(classifier, test.images, chosen, batch_size=count).argmax(dim=1).numpy()

    classes = test.dataset.classes
    captions = [
        Caption(classes[label], GREEN)
        if guess == label
        else Caption(f"({classes[guess]}) is {classes[label]}", RED)
        for guess, label in zip(predicted, test.labels[chosen], strict=True)
    ]
    right = int((predicted == test.labels[chosen]).sum())
    subtitle = f"{classifier.description.title}: {right} of {count} random test pictures right; (wrong) in brackets"
    figure = picture_grid(test.images.read(chosen), captions, "Objects Found by Model", subtitle)
    save_figure(figure, REPORTS / "test_sample.png")


if __name__ == "__main__":
    run(main)
