"""What holds for every attack: the ball and the box, no traces, and what it must find where a formula knows it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustcsc.attacks.catalog import craft
from robustcsc.attacks.guard import Search
from robustcsc.attacks.searches import SEARCHES
from robustcsc.errors import AttackError
from robustcsc.measurements.attacks import ATTACKS, AttackStep
from robustcsc.measurements.threats import Norm, ThreatModel

Choose = Callable[[str], AttackStep]
#: The port has its own file: each call costs thousands of queries.
NAMES = [name for name in ATTACKS if name != "autoattack-port"]
PAIRS: list[tuple[str, Norm]] = [(name, norm) for name in NAMES for norm in ATTACKS[name].norms]
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
#: Attacks without randomness, and how closely they agree for an image alone and in a batch.
WITHOUT_RANDOMNESS = [(name, norm) for name, norm in PAIRS if not ATTACKS[name].random]


def norms(change: Tensor, norm: Norm) -> Tensor:
    sizes: Tensor = torch.linalg.vector_norm(change.double(), math.inf if norm == "linf" else 2, dim=(1, 2, 3))
    return sizes


@pytest.mark.parametrize(("name", "norm"), PAIRS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epsilon=st.sampled_from([0.0, 1e-300, 1e-30, 1e-6, 0.03, 0.5, 1.0]),
    kind=st.sampled_from(["black", "white", "corners", "uniform"]),
    seed=st.integers(0, 10_000),
)
def test_images_never_leave_the_ball_or_the_box(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, epsilon: float, kind: str, seed: int
) -> None:
    uniform = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    images = {"black": uniform * 0, "white": uniform * 0 + 1, "corners": uniform.round(), "uniform": uniform}[kind]
    found = craft(chosen(name), network, images, LABELS[:4], ThreatModel(norm, epsilon), seed=seed)
    assert found.shape == images.shape and found.dtype == images.dtype
    assert found.min() >= 0 and found.max() <= 1
    assert norms(found - images, norm).max() <= epsilon * (1 + 1e-15) if epsilon else torch.equal(found, images)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_model_images_and_random_state_stay_as_they_were(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    network.train()
    network[1].eval()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    network[5].weight.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    copy, random_state = images.clone(), torch.get_rng_state()
    found = craft(chosen(name), network, images, LABELS, ThreatModel(norm, 0.3), seed=0)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and bool((gradient == 3).all()) for gradient in gradients)
    assert [parameter.requires_grad for parameter in network.parameters()] == [True] * 4 + [False, True]
    assert torch.equal(images, copy) and torch.equal(torch.get_rng_state(), random_state)
    assert not found.requires_grad and found.data_ptr() != images.data_ptr()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_the_seed_decides(name: str, norm: Norm, network: nn.Sequential, chosen: Choose, inside: Tensor) -> None:
    attack, threat = chosen(name), ThreatModel(norm, 0.05)
    first = craft(attack, network, inside, LABELS, threat, seed=5)
    torch.rand(3)
    assert torch.equal(craft(attack, network, inside, LABELS, threat, seed=5), first)
    if ATTACKS[name].random and name != "fab":  # FAB begins at the image itself
        assert not torch.equal(craft(attack, network, inside, LABELS, threat, seed=6), first)


@pytest.mark.parametrize(("name", "norm"), [pair for pair in PAIRS if pair[0] != "square"])
def test_two_linear_classes_are_attacked_optimally(
    name: str, norm: Norm, linear: nn.Module, chosen: Choose, inside: Tensor
) -> None:
    # The distance of an image from the boundary is |w.x - b| / ||w||, in the dual norm: l1 for linf, l2 for l2.
    margin = linear.margin(inside)  # type: ignore[operator]
    labels = (margin < 0).long()
    weight = linear.weight.detach().double()  # type: ignore[operator]
    distance = margin.abs() / (weight.abs().sum() if norm == "linf" else weight.norm())
    assert distance.max() < 0.3
    enough = 1.25 if name == "cw" else 1.06  # a few values of c; DeepFool overshoots by 2 %
    for size, broken in ((0.97, False), (enough, True)):
        for row in range(3):
            threat = ThreatModel(norm, size * float(distance[row]))
            attack = AttackStep.of("cw", steps=25, searches=5) if name == "cw" else chosen(name)
            found = craft(attack, linear, inside[row : row + 1], labels[row : row + 1], threat, seed=0)
            assert bool((linear(found).argmax(1) != labels[row]).all()) == broken, (row, size)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_breaks_two_linear_classes_with_a_larger_budget(norm: Norm, linear: nn.Module, inside: Tensor) -> None:
    margin = linear.margin(inside)  # type: ignore[operator]
    labels = (margin < 0).long()
    weight = linear.weight.detach().double()  # type: ignore[operator]
    distance = margin.abs() / (weight.abs().sum() if norm == "linf" else weight.norm())
    for size, broken in ((0.97, False), (3.0, True)):
        for row in range(2):
            threat = ThreatModel(norm, size * float(distance[row]))
            attack = AttackStep.of("square", queries=100 if broken else 20)
            found = craft(attack, linear, inside[row : row + 1], labels[row : row + 1], threat, seed=0)
            assert bool((linear(found).argmax(1) != labels[row]).all()) == broken, (row, size)


@pytest.mark.parametrize(("name", "norm"), WITHOUT_RANDOMNESS)
def test_without_randomness_an_image_does_not_depend_on_its_batch(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, inside: Tensor
) -> None:
    threat = ThreatModel(norm, 0.5)
    together = craft(chosen(name), network, inside, LABELS, threat, seed=0)
    assert (together != inside).any()
    for row in range(len(inside)):
        alone = craft(chosen(name), network, inside[row : row + 1], LABELS[row : row + 1], threat, seed=0)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_models_in_channels_last_are_attacked_alike(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, inside: Tensor
) -> None:
    threat = ThreatModel(norm, 0.05)
    wrong = []
    for order in (torch.contiguous_format, torch.channels_last):
        model = network.to(memory_format=order)
        found = craft(chosen(name), model, inside.contiguous(memory_format=order), LABELS, threat, seed=0)
        wrong.append(network.eval()(found).argmax(1) != LABELS)
    assert torch.equal(*wrong)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_an_attack_never_helps_the_model(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, inside: Tensor
) -> None:
    network.eval()
    found = craft(chosen(name), network, inside, LABELS, ThreatModel(norm, 0.02), seed=0)
    assert not ((network(inside).argmax(1) != LABELS) & (network(found).argmax(1) == LABELS)).any()


def test_every_attack_is_known_and_can_be_run() -> None:
    assert ATTACKS.keys() == SEARCHES.keys()


@pytest.mark.parametrize("name", ATTACKS)
def test_settings_are_those_of_the_function(name: str) -> None:
    kind, parameters = ATTACKS[name], inspect.signature(SEARCHES[name]).parameters
    assert {"threat", *kind.settings} <= parameters.keys()
    needed = {setting for setting, parameter in parameters.items() if parameter.default is parameter.empty}
    assert needed == {"threat", *(setting for setting, value in kind.settings.items() if value is not None)}
    assert kind.effort in (*kind.settings, "")
    search = SEARCHES[name](ThreatModel("l2", 0.5), **dict(AttackStep.of(name).settings))
    assert search.gradients == kind.gradients


def test_what_makes_no_sense_is_refused(network: nn.Sequential, inside: Tensor) -> None:
    with pytest.raises(AttackError, match="deepfool supports l2, not linf"):
        craft(AttackStep.of("deepfool"), network, inside, LABELS, ThreatModel("linf", 0.1), seed=0)
    for name, setting in (("apgd", "steps"), ("apgd-t", "targets"), ("square", "queries"), ("fab", "steps")):
        with pytest.raises(AttackError, match=f"{setting} must be at least 1, not 0"):
            craft(AttackStep.of(name, **{setting: 0}), network, inside, LABELS, ThreatModel("l2", 0.1), seed=0)
    with pytest.raises(AttackError, match="rate must be a positive number"):
        craft(AttackStep.of("cw", rate=0.0), network, inside, LABELS, ThreatModel("l2", 0.1), seed=0)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_log_probabilities_have_a_loss_of_their_own(
    loss: str, network: nn.Sequential, inside: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def keep(threat: ThreatModel, *, loss: str, **named: object) -> Search:
        asked.append(loss)
        return Search(lambda attacked, images, labels: images)

    monkeypatch.setitem(SEARCHES, "pgd", keep)
    for averaged in (False, True):
        step, threat = AttackStep.of("pgd", loss=loss), ThreatModel("linf", 0.1)
        craft(step, network, inside, LABELS, threat, seed=0, averaged=averaged)
    assert asked == [loss, "nll" if loss == "ce" else loss]


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_labels_out_of_range_are_refused(
    name: str, norm: Norm, network: nn.Sequential, chosen: Choose, inside: Tensor
) -> None:
    for labels in (LABELS - 1, LABELS + 1):
        with pytest.raises(AttackError, match="labels must be at least 0"):
            craft(chosen(name), network, inside, labels, ThreatModel(norm, 0.1), seed=0)
