"""Batch normalisation at test time beside plain PyTorch: training mode, the published formula, a loop of Tent."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.adapters import AdaptedModel
from robustcsc.adaptive.batch_norm import EntropyMinimiser, batch_norms, batch_statistics
from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Tent


class WithRelu(nn.BatchNorm2d):
    """Batch normalisation that does more, as some of timm does."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


@pytest.fixture
def model() -> nn.Module:
    """Convolution, both kinds of batch normalisation with statistics and parameters of their own, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(2, 4, 3), WithRelu(4), nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        ).double()
        for layer in batch_norms(made):
            for tensor in layer.state_dict().values():
                if tensor.is_floating_point():
                    nn.init.uniform_(tensor, 0.5, 1.5)
    return made.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def in_training_mode(model: nn.Module, images: Tensor) -> Tensor:
    """What PyTorch itself answers with the statistics of the batch."""
    trained = copy.deepcopy(model)
    for layer in batch_norms(trained):
        layer.train()
    logits: Tensor = trained(images)
    return logits


def test_statistics_are_those_of_the_batch(model: nn.Module, images: Tensor) -> None:
    expected = in_training_mode(model, images)
    with batch_statistics(model):
        torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


def test_a_prior_mixes_stored_statistics_in_as_published() -> None:
    layer = nn.BatchNorm1d(1, affine=False, eps=0).double().eval()
    layer.running_mean, layer.running_var = torch.tensor([2.0]).double(), torch.tensor([3.0]).double()
    seen = torch.tensor([[0.0], [4.0], [8.0], [8.0]], dtype=torch.float64)  # mean 5, variance 11
    with batch_statistics(layer, prior=12):  # N / (N + n) is 3/4
        found = layer(seen)
    mean, variance = 0.75 * 2 + 0.25 * 5, 0.75 * 3 + 0.25 * 11
    torch.testing.assert_close(found, (seen - mean) / variance**0.5)


def test_a_very_large_prior_is_the_model_as_it_is(model: nn.Module, images: Tensor) -> None:
    with batch_statistics(model, prior=10**15):
        adapted = model(images)
    torch.testing.assert_close(adapted, model(images), rtol=1e-10, atol=1e-10)


def test_gradients_pass_through_the_statistics(model: nn.Module, images: Tensor) -> None:
    def gradient(answer: Callable[[Tensor], Tensor]) -> Tensor:
        seen = images.clone().requires_grad_()
        return torch.autograd.grad(answer(seen)[:, 0].square().sum(), seen)[0]

    ours = gradient(AdaptedModel(model, BatchStatistics()))
    torch.testing.assert_close(ours, gradient(lambda seen: in_training_mode(model, seen)), rtol=1e-9, atol=1e-12)
    mixed = AdaptedModel(model, BatchStatistics(prior=5))
    assert torch.autograd.gradcheck(lambda seen: mixed(seen), images.clone().requires_grad_())


@pytest.mark.parametrize("made", [BatchStatistics(), Tent(steps=2), Tent(episodic=True)])
@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_put_back_to_the_bit(model: nn.Module, images: Tensor, made: Adaptation, failing: bool) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objects = [id(it) for it in (*model.parameters(), *model.buffers())]
    adapted = AdaptedModel(model, made)
    if failing:
        handle = [*model.modules()][-1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            adapted(images)
        handle.remove()
    else:
        adapted(images)
    assert [id(it) for it in (*model.parameters(), *model.buffers())] == objects
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(it.grad is None for it in model.parameters())
    assert not any(layer._forward_pre_hooks for layer in batch_norms(model))


def tent_by_hand(model: nn.Module, batches: list[Tensor], steps: int, episodic: bool) -> list[Tensor]:
    """Tent as a plain loop over a copy in training mode, with the optimiser of PyTorch."""
    answers, fresh = [], copy.deepcopy(model)
    for number, batch in enumerate(batches):
        if number == 0 or episodic:
            adapted = copy.deepcopy(fresh)
            adapted.requires_grad_(False)
            for layer in batch_norms(adapted):
                layer.requires_grad_(True).train()
                layer.momentum = 0.0
            optimizer = torch.optim.Adam([it for it in adapted.parameters() if it.requires_grad], lr=0.01)
        for _ in range(steps):
            logits = adapted(batch)
            optimizer.zero_grad()
            torch.distributions.Categorical(logits=logits).entropy().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        answers.append(logits.detach())
    return answers


@pytest.mark.parametrize(("steps", "episodic"), [(1, False), (3, False), (3, True)])
def test_tent_is_a_loop_over_a_copy(model: nn.Module, images: Tensor, steps: int, episodic: bool) -> None:
    batches = [images[:4], images[2:]]
    tent = EntropyMinimiser(model, Tent(steps=steps, episodic=episodic, learning_rate=0.01))
    with torch.inference_mode(), batch_statistics(model):
        found = [tent(model, batch) for batch in batches]
    for ours, theirs in zip(found, tent_by_hand(model, batches, steps, episodic), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_an_attacker_of_an_episode_gets_the_gradient_at_the_adapted_parameters(
    model: nn.Module, images: Tensor
) -> None:
    seen = images.clone().requires_grad_()
    logits = AdaptedModel(model, Tent(steps=2, episodic=True, learning_rate=0.01))(seen)
    adapted = copy.deepcopy(model)
    tent = EntropyMinimiser(adapted, Tent(steps=1, learning_rate=0.01))
    with batch_statistics(adapted):
        tent(adapted, images)
    for layer, name, parameter in tent._affine:
        setattr(layer, name, parameter)
    again = images.clone().requires_grad_()
    expected = torch.autograd.grad(in_training_mode(adapted, again)[:, 1].sum(), again)[0]
    torch.testing.assert_close(torch.autograd.grad(logits[:, 1].sum(), seen)[0], expected, rtol=1e-9, atol=1e-12)
