"""build_heads: what each method gets, and that it trains, copies and reloads."""

import copy

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torch import nn

from pipeline.models.heads import DINO_OUTPUTS, LOCAL_TEMPERATURE, SWAV_OUTPUTS, SWAV_PROTOTYPES, build_heads

WIDTHS = {
    "supervised": {"classifier": 1},
    "simclr": {"projection": 128},
    "byol": {"projection": 256, "prediction": 256},
    "swav": {"projection": SWAV_OUTPUTS, "prototypes": SWAV_PROTOTYPES},
    "dino": {"projection": DINO_OUTPUTS},
}
CHANNELS = 12


def seeded(method: str) -> nn.ModuleDict:
    torch.manual_seed(0)
    return build_heads(method, CHANNELS)


def outputs(heads: nn.ModuleDict, rows: torch.Tensor) -> list[torch.Tensor]:
    """Of every head, one after the other."""
    found = []
    for name, head in heads.items():
        rows = head(F.normalize(rows, dim=1) if name == "prototypes" else rows)
        found.append(rows)
    return found


@pytest.mark.parametrize("method", list(WIDTHS))
def test_heads_have_the_widths_of_the_paper(method: str):
    heads = seeded(method)
    found = outputs(heads, torch.randn(4, CHANNELS))
    assert {name: rows.shape for name, rows in zip(heads, found, strict=True)} == {
        name: (4, width) for name, width in WIDTHS[method].items()
    }


@pytest.mark.parametrize("method", ["mv_clip_tr", "mv_clip", "clip_tr", "clip", "siglip", "none"])
def test_other_methods_need_no_head(method: str):
    assert len(build_heads(method, CHANNELS)) == 0


def test_mama_learns_the_temperature_of_local_alignment():
    local = build_heads("mama", CHANNELS)["local"]
    assert local().item() == pytest.approx(LOCAL_TEMPERATURE)
    local().backward()
    assert float(local.log.grad) == pytest.approx(LOCAL_TEMPERATURE)  # of exp at its logarithm


@pytest.mark.parametrize("method", list(WIDTHS))
def test_every_learned_weight_gets_a_gradient(method: str):
    heads = seeded(method)
    rows = torch.randn(6, CHANNELS, requires_grad=True)
    weight = torch.randn(6, list(WIDTHS[method].values())[-1])
    (outputs(heads, rows)[-1] * weight).sum().backward()
    learned = [parameter for parameter in heads.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learned)
    assert rows.grad.abs().sum() > 0


@pytest.mark.parametrize("method", list(WIDTHS))
def test_a_copy_and_a_reload_give_the_same(method: str):
    heads, rows = seeded(method), torch.randn(4, CHANNELS)
    outputs(heads, rows)[-1].sum().backward()  # a used head must be copied too: the teacher of a resumed run
    reloaded = build_heads(method, CHANNELS)
    reloaded.load_state_dict(heads.state_dict())
    expected = outputs(heads.eval(), rows)
    for other in (copy.deepcopy(heads), reloaded.eval()):
        torch.testing.assert_close(outputs(other, rows), expected, rtol=0, atol=0)


def test_one_seed_gives_one_head():
    first, second = (seeded("dino").state_dict() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_prototypes_are_directions():
    prototypes = seeded("swav")["prototypes"]
    (weight,) = prototypes.parameters()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(SWAV_PROTOTYPES))
    with torch.no_grad():
        weight.mul_(3)
    prototypes.normalize()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(SWAV_PROTOTYPES))
    assert weight.requires_grad and weight.is_leaf
    scores = prototypes(F.normalize(torch.randn(5, SWAV_OUTPUTS), dim=1))
    assert scores.abs().max() <= 1


def test_the_output_layer_of_dino_keeps_unit_rows_while_it_learns():
    head = seeded("dino")["projection"]
    before = head.last_layer.weight.detach().clone()
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        head(torch.randn(4, CHANNELS)).square().sum().backward()
        optimizer.step()
    after = head.last_layer.weight
    torch.testing.assert_close(after.norm(dim=1), torch.ones(DINO_OUTPUTS))
    assert not torch.allclose(after, before)


def test_batch_norm_over_gathered_rows_is_that_of_the_whole_step():
    """Rows of two ranks in one call are not what each rank alone would give."""
    head, rows = seeded("simclr")["projection"], torch.randn(8, CHANNELS)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in head.modules())
    by_rank = torch.cat([copy.deepcopy(head)(part) for part in rows.split(4)])
    whole = head(rows)
    torch.testing.assert_close(whole.mean(dim=0), torch.zeros(128), rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.std(dim=0, correction=0), torch.ones(128), rtol=1e-2, atol=0)
    assert not torch.allclose(whole, by_rank)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="channels"):
        build_heads("supervised", 0)
    with pytest.raises(TypeCheckError):
        build_heads("moco", CHANNELS)
