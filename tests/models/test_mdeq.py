"""MDEQ: the sizes of the authors' networks, the cell written out, and what stays the same during the iterations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm, interpolate, relu
from torch.nn.utils.parametrizations import weight_norm

from robustcsc.layers.gradients import unrolled_gradients
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.mdeq import MDEQ, MODELS, Cell, WeightNormConv2d


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("mdeq", 10, 11_097_438), ("mdeq", 100, 11_248_728), ("mdeq-tiny", 10, 158_890), ("mdeq-digits", 10, 34_154)],
)
def test_parameters_are_as_many_as_in_the_network_of_the_authors(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = MODELS[name](classes, 1 if name == "mdeq-digits" else 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def cell(dropout: float = 0.0) -> Cell:
    torch.manual_seed(0)
    made = Cell((4, 8, 8), 2, 4, dropout)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.double()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_cell_is_what_the_paper_writes() -> None:
    """Three resolutions of 7, 4 and 2 pixels, and only the finest sees the image."""
    it, image = cell(), normal(2, 4, 7, 7)
    function, start = it.bound(image)
    assert not start.any() and start.shape == (2, 4 * 49 + 8 * 16 + 8 * 4)
    state = normal(*start.shape)
    parts = [state[:, :196].view(2, 4, 7, 7), state[:, 196:324].view(2, 8, 4, 4), state[:, 324:].view(2, 8, 2, 2)]
    weights = dict(it.named_parameters())

    def normed(features: Tensor, name: str) -> Tensor:
        return group_norm(features, 4, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def filters(name: str) -> Tensor:
        direction = weights[f"{name}.direction"]
        norms: Tensor = direction.flatten(1).norm(dim=1)
        return weights[f"{name}.length"] * direction / norms.view(-1, 1, 1, 1)

    blocks = []
    for i, part in enumerate(parts):
        hidden = relu(normed(conv2d(part, filters(f"blocks.{i}.widen"), padding=1), f"blocks.{i}.norm1"))
        hidden = conv2d(hidden, filters(f"blocks.{i}.narrow"), padding=1) + (image if i == 0 else 0)
        blocks.append(normed(relu(normed(hidden, f"blocks.{i}.norm2") + part), f"blocks.{i}.norm3"))

    def down(features: Tensor, path: str, layers: int) -> Tensor:
        for layer in range(layers):
            features = relu(features) if layer else features
            features = conv2d(features, weights[f"{path}.{3 * layer}.weight"], stride=2, padding=1)
            features = normed(features, f"{path}.{3 * layer + 1}")
        return features

    def up(features: Tensor, path: str, side: int) -> Tensor:
        return interpolate(normed(conv2d(features, weights[f"{path}.conv.weight"]), f"{path}.norm"), size=side)

    fused = [
        blocks[0] + up(blocks[1], "fuse.0.0", 7) + up(blocks[2], "fuse.0.1", 7),
        blocks[1] + down(blocks[0], "fuse.1.0", 1) + up(blocks[2], "fuse.1.1", 4),
        blocks[2] + down(blocks[0], "fuse.2.0", 2) + down(blocks[1], "fuse.2.1", 1),
    ]
    expected = [group_norm(conv2d(relu(y), filters(f"post.{i}")), 2).flatten(1) for i, y in enumerate(fused)]
    torch.testing.assert_close(function(state), torch.cat(expected, 1))


def test_dropout_leaves_out_the_same_channels_in_all_iterations_of_a_pass() -> None:
    it, image = cell(dropout=0.5).train(), normal(2, 4, 8, 8)
    (first, start), (second, _) = it.bound(image), it.bound(image)
    assert torch.equal(first(start), first(start))
    assert not torch.equal(first(start), second(start))
    it.eval()
    assert torch.equal(it.bound(image)[0](start), it.bound(image)[0](start))


def test_weights_are_normalised_once_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[WeightNormConv2d] = []
    weight = WeightNormConv2d.weight

    def noted(layer: WeightNormConv2d) -> Tensor:
        made.append(layer)
        return weight(layer)

    monkeypatch.setattr(WeightNormConv2d, "weight", noted)
    network = build(default_spec("mdeq-digits", 10, (1, 8, 8)))
    network(torch.rand(2, 1, 8, 8))
    assert len(made) == 2 * 2 + 2


def test_weight_normalisation_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = WeightNormConv2d(3, 5, 3), weight_norm(nn.Conv2d(3, 5, 3, bias=False))
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), (2 * ours.length, ours.direction), strict=True):
            parameter.copy_(value)
        ours.length.mul_(2)
    torch.testing.assert_close(ours.weight(), theirs.weight)


def test_the_logits_do_not_depend_on_how_they_are_differentiated() -> None:
    torch.manual_seed(0)
    model = build(default_spec("mdeq-digits", 10, (1, 8, 8), options={"num_steps": 6})).eval()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def result() -> tuple[Tensor, Tensor]:
        logits = model(images)
        return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), images)[0]

    implicit, its_gradient = result()
    with unrolled_gradients(model):
        unrolled, the_other = result()
    assert torch.equal(implicit, unrolled)
    assert (its_gradient - the_other).norm() > 0.01 * the_other.norm()


def test_a_network_is_told_by_its_solver() -> None:
    network = MODELS["mdeq-digits"](10, 1, solver="anderson", num_steps=7)
    assert isinstance(network, MDEQ)
    assert "7 anderson steps to 0.001, implicit gradient, 20 steps back" in repr(network)
