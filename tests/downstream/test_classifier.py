"""The classifier under autocast: what is half precision stays inside the encoder."""

import pytest
import torch

from pipeline.downstream.classifier import Classifier
from pipeline.models.image_tower import create_encoder, feature_shape


@pytest.mark.parametrize("half", [True, False])
def test_logits_are_float32_also_under_autocast(half: bool):
    generator = torch.Generator().manual_seed(0)
    channels = feature_shape("resnet10t", 64, 64)[0]
    model = Classifier(create_encoder("resnet10t"), channels, [0, 1]).eval()
    images = 255 * torch.rand(4, 1, 64, 64, generator=generator)
    with torch.inference_mode():
        model.head.weight.copy_(torch.randn(2, channels, generator=generator))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            features, found = model.encoder(images), model(images)
        pooled = features.float().mean(dim=(2, 3))
        assert features.dtype == (torch.bfloat16 if half else torch.float32)
        assert torch.equal(found, torch.nn.functional.linear(pooled, model.head.weight, model.head.bias))
