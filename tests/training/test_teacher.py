"""The teacher follows: parameters by momentum, running statistics at once, never by gradient."""

import torch
from torch import nn

from pipeline.models.image_tower import ImageTower, create_encoder
from pipeline.training.teacher import Teacher


def pupil() -> tuple[ImageTower, nn.Module]:
    torch.manual_seed(0)
    return ImageTower(create_encoder("resnet10t"), None, (32, 32), embeds=False), nn.Linear(512, 3)


def test_it_keeps_its_momentum_and_takes_the_rest():
    image, projection = pupil()
    teacher = Teacher(image, projection, 512)
    before = teacher.projection.weight.clone()
    with torch.no_grad():
        projection.weight.add_(1.0)
        statistics = next(image.buffers())
        statistics.add_(2.0)
    assert torch.equal(teacher.projection.weight, before)
    teacher.follow(image, projection, momentum=0.9)
    torch.testing.assert_close(teacher.projection.weight, before + 0.1)
    assert torch.equal(next(teacher.image.buffers()), statistics)


def test_no_gradient_reaches_it_and_parts_equal_the_whole():
    image, projection = pupil()
    teacher = Teacher(image, projection, 512).eval()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert teacher.center.shape == (1, 3)
    views = torch.rand(5, 1, 32, 32) * 255
    whole = teacher.embed(views, 5)
    assert not whole.requires_grad
    torch.testing.assert_close(teacher.embed(views, 2), whole)
