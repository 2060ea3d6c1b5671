"""Train a network by a recipe.

Reads data/arrays (training images, labels and keys), params train, machine and the recipe in use,
and the file or published file of initial weights that it may name; writes
models/classifier.safetensors, reports/history.csv and reports/timing.csv. The test set is never
opened.

A killed training resumes from models/resume.state and ends in the same bytes as an undisturbed one.
Several processes, started by machine.processes, torchrun, srun or PyTorchJob, train data-parallel.

The images stay uint8 on disk, or on the GPU where they fit, and are normalised per batch on the
device: no worker processes and no Python per image. On two cores, recipe tutorial trains 4,000
to 6,000 images of 32 x 32 per second, quick 9,000; accurate takes 11 to 28 minutes for CIFAR-10.
Memory is about 0.7 GB, for accurate 0.9 GB in bfloat16 and 1.8 GB in float32, for any number of
images.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import torch

from common.arrays import load_images
from common.files import MODEL, REPORTS
from common.params import Params, load_params
from model.classifier import Classifier
from model.device import select_device
from model.file import save_classifier
from training.batches import split_data, split_evenly
from training.calibration import calibrate
from training.checkpoint import Checkpoint, compute_fingerprint, resume
from training.description import describe
from training.distributed import ProcessGroup, check_shards, connected
from training.launch import count_processes, find_process_group, launch
from training.loop import Setup, fit
from training.outputs import check_writable, exclusive
from training.setup import build_setup
from training.state import TrainingState, new_state
from training.table import check_image_sizes, layer_table


def main() -> None:
    params = load_params()
    group = find_process_group()
    if group is None and (processes := count_processes(params.machine)) > 1:
        launch(__file__, processes)
    else:
        train(params, group or ProcessGroup())


def train(params: Params, group: ProcessGroup) -> None:
    """Train in this process, which is one rank of ``group``."""
    device = select_device(params.machine.device, group.local_rank)
    if params.machine.threads != "auto":
        torch.set_num_threads(params.machine.threads)
    torch.backends.cudnn.deterministic = True  # the fastest algorithms on a GPU add up in any order
    if group.rank == 0:
        check_writable(MODEL.parent, REPORTS)

    with connected(group, device), exclusive(group):
        setup, state, checkpoint = prepare(params, group, device)
        resume(state, checkpoint, group)
        fit(setup, state, checkpoint)
        temperature = calibrate(setup)

        if group.rank == 0:
            setup.classifier.describe(
                best_epoch=state.early_stopping.best_epoch or None,
                validation_images=len(setup.data.validation),
                temperature=temperature,
            )
            save_classifier(setup.classifier)
            checkpoint.remove()


def prepare(
    params: Params, group: ProcessGroup, device: torch.device
) -> tuple[Setup, TrainingState, Checkpoint]:
    """Read the inputs, check that all ranks have the same, and build what is trained."""
    loaded = load_images("train", params.download)
    data = split_data(loaded, params.train)
    description = describe(params, loaded.dataset, device, group)
    fingerprint = compute_fingerprint(description, params.train)
    group.check_agreement(fingerprint)
    batches = split_evenly(data.train, description.recipe.batch_size)
    check_shards(group, description.recipe, min(map(len, batches)), len(data.validation))

    classifier = Classifier(description)
    check_image_sizes(classifier.network, description.recipe, description.image_size)
    if group.rank == 0:
        print(layer_table(classifier.network, description.image_size), flush=True)
    setup = build_setup(classifier, data, group, device)
    # Ranks on other machines may have other numbers of threads.
    fingerprint["processes"] = f"{group.world_size} with {torch.get_num_threads()} threads"
    checkpoint = Checkpoint(fingerprint, params.machine.checkpoint_minutes)
    return setup, new_state(setup.trained, len(batches), params.train.early_stopping), checkpoint


if __name__ == "__main__":
    run(main)
