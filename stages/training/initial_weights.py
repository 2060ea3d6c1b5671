"""The weights that a training begins with, where they are not drawn at random."""

import torch

from model.classifier import Classifier
from training.batches import TrainingData
from training.pretrained import load_pretrained
from training.whitening import set_whitening

WHITENING_IMAGES = 5000


def set_initial_weights(classifier: Classifier, data: TrainingData) -> None:
    """Load published weights, or compute whitening filters from images that are trained on, as the
    recipe says.

    Raises:
        UserError: The published weights cannot be fetched, or do not fit.
    """
    options = classifier.description.recipe.network
    if options.name == "torchvision" and options.pretrained:
        load_pretrained(classifier.network, options.model)
    if options.name == "whitened":
        sample = data.train[:: max(1, len(data.train) // WHITENING_IMAGES)]
        images = torch.from_numpy(data.images.read(sample.tolist()))
        set_whitening(classifier.network, classifier.normalize(images))
