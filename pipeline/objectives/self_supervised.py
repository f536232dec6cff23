"""SimCLR, SwAV, BYOL and DINO between two augmentations of each image: lightly's losses as pure functions.

The rows are those of all ranks already, so nothing is gathered here. lightly is imported where it is used: it is an
extra, and loading it takes 1.5 s.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.precision import at_least_float32

# Chen et al., SimCLR, ICML 2020: on ImageNet, with batches of 4096, 0.1 was best (table 5); on CIFAR-10 0.5 was, at
# every batch of 256 to 4096, and 0.1 came closer as the batch grew (appendix B.9). Our steps have 72 to 256 images
# (conf/profile/paper.yaml), so 0.5; MaMA takes it too (method.md).
SIMCLR_TEMPERATURE = 0.5
# Caron et al., SwAV, NeurIPS 2020, appendix A, implementation details.
SWAV_TEMPERATURE = 0.1
SINKHORN_EPSILON = 0.05
SINKHORN_ITERATIONS = 3
# A cosine of rows rounded to bfloat16 (steps of 1/256 near 1) may exceed 1 by this much.
COSINE_ROUNDING = 0.02
# Caron et al., DINO, ICCV 2021, section 3 and appendix: student 0.1, teacher from 0.04, centre momentum 0.9.
DINO_STUDENT_TEMPERATURE = 0.1
DINO_TEACHER_TEMPERATURE = 0.04
DINO_CENTER_MOMENTUM = 0.9
# Grill et al., BYOL, NeurIPS 2020, section 3 (implementation details), and DINO, section 3: a cosine from it to 1.
TEACHER_MOMENTUM = 0.996


def simclr_loss(
    first: Float[Tensor, "image dim"],
    second: Float[Tensor, "image dim"],
    temperature: float = SIMCLR_TEMPERATURE,
) -> Float[Tensor, ""]:
    """NT-Xent: each of 2n projections finds its other augmentation among the 2n - 1 others.

    Args:
        first: Projections, any norm; row i and row i of second are one image.
        second: Projections.
        temperature: Divisor of the cosine similarities, > 0.

    Returns:
        Mean loss in nats per projection, non-negative.

    Raises:
        ValueError: temperature is not positive, or there is no image.

    Source: Chen et al., ICML 2020, eq. 1.
    """
    from lightly.loss import NTXentLoss

    if temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    _check_images(first)
    with torch.autocast(first.device.type, enabled=False):
        loss: Tensor = NTXentLoss(temperature)(at_least_float32(first), at_least_float32(second))
    return loss


def swav_loss(
    first_scores: Float[Tensor, "image prototype"], second_scores: Float[Tensor, "image prototype"]
) -> Float[Tensor, ""]:
    """Each augmentation predicts the code of the other; codes spread the step evenly over the prototypes.

    Args:
        first_scores: Cosines of unit-norm projections with unit-norm prototypes; two full-size augmentations, no
            small crops (a lesion may lie outside of them).
        second_scores: Of the other augmentation.

    Returns:
        Mean loss in nats per image, non-negative; NaN if a score is. Codes carry no gradient.

    Raises:
        ValueError: a score is no cosine (exp(score / 0.05) then overflows), or there is no image.

    Source: Caron et al., NeurIPS 2020, eq. 1-5.
    """
    from lightly.loss import SwaVLoss

    _check_images(first_scores)
    scores = [at_least_float32(first_scores), at_least_float32(second_scores)]
    largest = float(torch.cat(scores).detach().abs().max())
    if largest > 1 + COSINE_ROUNDING:
        raise ValueError(f"scores must be cosines, found {largest:.3g}; normalise projections and prototypes")
    with torch.autocast(first_scores.device.type, enabled=False):
        loss: Tensor = SwaVLoss(SWAV_TEMPERATURE, SINKHORN_ITERATIONS, SINKHORN_EPSILON)(scores, [])
    return loss.squeeze(0)


def byol_loss(
    first_prediction: Float[Tensor, "image dim"],
    second_prediction: Float[Tensor, "image dim"],
    first_target: Float[Tensor, "image dim"],
    second_target: Float[Tensor, "image dim"],
) -> Float[Tensor, ""]:
    """Mean negative cosine of each prediction with the teacher's projection of the other augmentation.

    The paper's loss is 4 + 4 times this one; AdamW does not see the factor.

    Args:
        first_prediction: Predictions of the pupil, any norm.
        second_prediction: Of the other augmentation.
        first_target: Projections of the teacher; no gradient reaches them.
        second_target: Of the other augmentation.

    Returns:
        -1 (all agree) to 1.

    Raises:
        ValueError: there is no image.

    Source: Grill et al., NeurIPS 2020, eq. 2.
    """
    from lightly.loss import NegativeCosineSimilarity

    _check_images(first_prediction)
    compare = NegativeCosineSimilarity()
    with torch.autocast(first_prediction.device.type, enabled=False):
        there: Tensor = compare(at_least_float32(first_prediction), at_least_float32(second_target.detach()))
        back: Tensor = compare(at_least_float32(second_prediction), at_least_float32(first_target.detach()))
    return (there + back) / 2


def dino_loss(
    student_first: Float[Tensor, "image output"],
    student_second: Float[Tensor, "image output"],
    teacher_first: Float[Tensor, "image output"],
    teacher_second: Float[Tensor, "image output"],
    center: Float[Tensor, "1 output"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "1 output"]]:
    """Cross-entropy of each student output with the centred, sharpened teacher output of the other augmentation.

    lightly averages the step's mean over ranks if there are any. Here every rank holds all rows, so that equal values
    are averaged and the centre stays what it is; with rows of one rank alone it becomes the mean over ranks.

    Args:
        student_first: Outputs of the student's projection head.
        student_second: Of the other augmentation.
        teacher_first: Of the teacher's; no gradient reaches them.
        teacher_second: Of the other augmentation.
        center: Subtracted from the teacher's outputs; zeros before the first step. Not changed.

    Returns:
        Mean loss in nats, non-negative, and the centre for the next step.

    Raises:
        ValueError: there is no image.

    Source: Caron et al., ICCV 2021, eq. 1, 3 and 4, Algorithm 1. The teacher's temperature stays where the paper's
    warm-up starts, as in its released defaults.
    """
    from lightly.loss import DINOLoss

    _check_images(student_first)
    criterion = DINOLoss(
        output_dim=center.shape[1],
        teacher_temp=DINO_TEACHER_TEMPERATURE,
        student_temp=DINO_STUDENT_TEMPERATURE,
        center_momentum=DINO_CENTER_MOMENTUM,
    )
    teachers = [at_least_float32(rows.detach()) for rows in (teacher_first, teacher_second)]
    students = [at_least_float32(rows) for rows in (student_first, student_second)]
    criterion.center = center.detach().to(teachers[0], copy=True).unsqueeze(0)
    with torch.autocast(student_first.device.type, enabled=False):
        loss: Tensor = criterion(teachers, students)
    return loss, criterion.center.squeeze(0)


def teacher_momentum(step: int, steps: int) -> float:
    """Share that the teacher keeps of itself at a step, counted from 0: TEACHER_MOMENTUM to 1 on a half cosine.

    Raises:
        ValueError: step is not in 0..steps, or steps is not positive.

    Source: Grill et al., NeurIPS 2020, section 3, implementation details.
    """
    if steps < 1 or not 0 <= step <= steps:
        raise ValueError(f"expected 0 <= step <= steps and steps >= 1, found step {step} of {steps}")
    return 1 - (1 - TEACHER_MOMENTUM) * (math.cos(math.pi * step / steps) + 1) / 2


def _check_images(rows: Float[Tensor, "image dim"]) -> None:
    """Raises a ValueError if there is no image."""
    if not len(rows):
        raise ValueError("there is no image")
