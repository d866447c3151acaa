"""The shift of a batch against clean images, beside the formulas in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.adapters import AdaptedModel
from robustcsc.adaptive.shift import agreement, clean_statistics
from robustcsc.errors import PolicyError
from robustcsc.measurements.adaptations import Shift
from robustcsc.measurements.facts import replace
from robustcsc.measurements.references import Reference

CLASSES = 4


@pytest.fixture
def model() -> nn.Module:
    """Batch normalisation of three channels in float64, and a class for the sign of two of them."""
    layer = nn.BatchNorm2d(3).double()
    assert layer.running_mean is not None and layer.running_var is not None
    layer.running_mean += torch.tensor([0.3, -0.2, 0.1])
    layer.running_var *= 1.7
    head = nn.Linear(3, CLASSES).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]))
        head.bias.zero_()
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def images(count: int, seed: int = 0) -> Tensor:
    """Images of noise about a colour of their own."""
    made = torch.Generator().manual_seed(seed)
    colour = torch.randn(count, 3, 1, 1, generator=made, dtype=torch.float64)
    return colour + torch.randn(count, 3, 5, 4, generator=made, dtype=torch.float64)


def reference_of(model: nn.Module, clean: Tensor) -> Reference:
    layers, alike = clean_statistics(model, torch.split(clean, 64))
    return Reference(
        weights="5d",
        precision="fp32",
        heldout="feed",
        trained_on_heldout=False,
        images=len(clean),
        agreement=alike,
        layers=layers,
        created="",
    )


@pytest.fixture
def reference(model: nn.Module) -> Reference:
    return reference_of(model, images(400))


def adapted(model: nn.Module, reference: Reference) -> nn.Module:
    return AdaptedModel(model, Shift(reference=reference.digest), reference)


def undone(x: np.ndarray, reference: Reference, eps: float) -> np.ndarray:
    """(N, 3, H, W): the formulas of the module as they stand there, and eps beside each variance in a ratio."""
    mean, variance = np.array(reference.layers[0].mean), np.array(reference.layers[0].variance)
    its_mean, its_variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    powers = ((x - its_mean[:, None, None]) ** 2).mean((2, 3))
    error = x.mean((2, 3)).var(0, ddof=1) / len(x), powers.var(0, ddof=1) / len(x)
    seen = (
        (its_mean - mean) ** 2 / (variance + eps) + (its_variance - variance) ** 2 / (2 * (variance + eps) ** 2)
    ).mean()
    chance = (error[0] / (variance + eps) + error[1] / (2 * (variance + eps) ** 2)).mean()
    share = max(0.0, 1 - 1.5 * chance / seen)
    assert 0.2 < share < 0.9
    ratio = ((its_variance + eps) / (variance + eps)) ** (share / 2)
    each = [it[:, None, None] for it in (mean, share * (its_mean - mean), ratio)]
    return np.asarray(each[0] + (x - each[0] - each[1]) / each[2])


def test_clean_statistics_are_those_of_all_images(model: nn.Module) -> None:
    clean = images(100)
    layers, alike = clean_statistics(model, torch.split(clean, 30))
    np.testing.assert_allclose(layers[0].mean, clean.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(layers[0].variance, clean.var((0, 2, 3), correction=0), rtol=1e-12)
    answers = model(clean).argmax(1)
    pairs = [bool(answers[i] == answers[j]) for i in range(100) for j in range(i)]
    assert alike == pytest.approx(np.mean(pairs), rel=1e-12)


def test_a_shift_is_undone_as_far_as_it_is_no_chance(model: nn.Module, reference: Reference) -> None:
    seen = images(64, seed=1) * 1.3 + torch.tensor([0.5, -0.1, 0.2])[:, None, None]
    assert isinstance(model[0], nn.BatchNorm2d)  # type: ignore[index]
    expected = model(torch.from_numpy(undone(seen.numpy(), reference, 1e-5)))
    torch.testing.assert_close(adapted(model, reference)(seen), expected, rtol=1e-9, atol=1e-9)


def test_clean_images_are_answered_as_without_to_the_bit(model: nn.Module, reference: Reference) -> None:
    for count in (2, 16, 250):
        clean = images(count, seed=count)
        assert torch.equal(adapted(model, reference)(clean), model(clean))


def test_one_image_tells_nothing_of_a_shift(model: nn.Module, reference: Reference) -> None:
    seen = 9 * images(1)
    assert torch.equal(adapted(model, reference)(seen), model(seen))


def test_a_batch_of_few_classes_is_answered_by_the_model_as_it_is(model: nn.Module, reference: Reference) -> None:
    pool = images(2000, seed=3)
    few = pool[model(pool).argmax(1) <= 1][:250] + 2
    torch.testing.assert_close(adapted(model, reference)(few), model(few), rtol=0, atol=0)
    mixed = pool[:250] + 2
    answered = adapted(model, reference)(mixed).argmax(1)
    assert (answered == model(pool[:250]).argmax(1)).double().mean() > 0.9
    assert (model(mixed).argmax(1) == model(pool[:250]).argmax(1)).double().mean() < 0.6


def test_an_attacker_gets_the_gradient_of_the_answer(model: nn.Module, reference: Reference) -> None:
    seen = (images(8, seed=4)[:, :, :2, :2] + 2).requires_grad_()
    network = adapted(model, reference)
    assert not torch.allclose(network(seen), model(seen))
    assert torch.autograd.gradcheck(lambda it: network(it), seen)


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(model: nn.Module, reference: Reference, failing: bool) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    handle = [*model.modules()][-1].register_forward_hook(lambda *_: 1 / 0) if failing else None
    if handle:
        with pytest.raises(ZeroDivisionError):
            adapted(model, reference)(images(8))
        handle.remove()
    else:
        adapted(model, reference)(images(8) + 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in model.modules())


def test_statistics_of_another_model_are_refused(model: nn.Module, reference: Reference) -> None:
    other = nn.BatchNorm2d(4)
    with pytest.raises(PolicyError, match="belong to another model"):
        adapted(other, reference)
    with pytest.raises(PolicyError, match="are not there"):
        AdaptedModel(model, Shift(reference="beef"), reference)
    with pytest.raises(PolicyError, match="are not there"):
        AdaptedModel(model, Shift(reference="beef"))


def test_flat_inputs_and_layers_that_are_never_asked_have_statistics() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.unused = nn.BatchNorm1d(4), nn.BatchNorm1d(2)

        def forward(self, seen: Tensor) -> Tensor:
            found: Tensor = self.norm(seen.flatten(1))
            return found

    network, clean = Flat().eval(), torch.rand(50, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    layers, _ = clean_statistics(network, [clean])
    np.testing.assert_allclose(layers[0].mean, clean.flatten(1).mean(0), rtol=1e-6)
    np.testing.assert_allclose(layers[0].variance, clean.flatten(1).var(0, correction=0), rtol=1e-5)
    assert layers[1].mean == (0, 0) and layers[1].variance == (1, 1)
    assert adapted(network, reference_of(network, clean))(clean + 3).shape == (50, 4)


def test_the_digest_is_that_of_the_statistics_not_of_the_time(reference: Reference) -> None:
    assert replace(reference, created="2026").digest == reference.digest != replace(reference, images=9).digest


@pytest.mark.parametrize(("classes", "share"), [((0, 0, 1, 1), 1 / 3), ((0, 1, 2, 3), 0.0), ((2, 2, 2), 1.0)])
def test_agreement_is_the_share_of_pairs(classes: tuple[int, ...], share: float) -> None:
    assert agreement(torch.eye(4)[list(classes)]) == pytest.approx(share)


def test_a_reference_comes_back_from_its_file(reference: Reference, tmp_path: Path) -> None:
    assert Reference.load(tmp_path) is None
    reference.save(tmp_path)
    assert Reference.load(tmp_path) == reference and Reference.load(tmp_path, "bf16") is None
    file = tmp_path / "clean.json"
    file.write_bytes(file.read_bytes().replace(b'"images": 400', b'"images": 401'))
    with pytest.raises(PolicyError, match="delete it, and it will be measured again"):
        Reference.load(tmp_path)
