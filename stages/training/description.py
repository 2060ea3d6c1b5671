"""What a model file says of itself."""

import torch

from common.arrays import Dataset
from common.network_options import weights_file
from common.params import Params
from model.classifier import Description
from model.device import settle_precision
from training.distributed import ProcessGroup
from training.weights_file import digest


def describe(
    params: Params, dataset: Dataset, device: torch.device, group: ProcessGroup
) -> Description:
    """Return what the model file will say of itself, with the precision that rank 0 settles on.

    Raises:
        UserError: The file of initial weights that the recipe names is missing.
    """
    path = weights_file(params.recipe.network)
    recipe = settle_precision(params.recipe, device)
    recipe = recipe.model_copy(update={"precision": group.broadcast_object(recipe.precision)})
    return Description(
        dataset=dataset.name,
        classes=dataset.classes,
        image_size=dataset.image_size,
        fit=dataset.fit,
        recipe_name=params.train.recipe,
        recipe=recipe,
        seed=params.train.seed,
        device=device.type,
        processes=group.world_size,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        initial_weights=digest(path) if path else None,
    )
