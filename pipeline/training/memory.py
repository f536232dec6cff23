"""What to change where the memory of a device does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import InputError
from pipeline.training.run import Training


@contextmanager
def memory_explained(training: Training, images: int, size_px: tuple[int, int]) -> Iterator[None]:
    """Turns running out of memory, on a GPU or a CPU, into an error that says what to change.

    Args:
        training: The run.
        images: That are on their way through the encoder.
        size_px: Their height and width.

    Raises:
        InputError: the memory did not suffice.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on a CPU it is told by its words alone
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        optimisation = training.recipe.optimisation
        raise InputError(
            f"pretrain: out of memory after step {training.done.steps}: {images} images of {size_px[0]} x {size_px[1]}"
            f" px on {training.accelerator.device} (batch {training.batch}, images_per_pass"
            f" {optimisation.images_per_pass}, activation_checkpointing {optimisation.activation_checkpointing});"
            " lower optimisation.images_per_pass (the same result in more passes), set"
            " optimisation.activation_checkpointing to true (the same result, about a third slower), or lower"
            " optimisation.batch (another result)"
        ) from error
