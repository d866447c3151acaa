"""Patch codes beside scikit-learn on the explicit patches, and their theory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import ElasticNet
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call

from robustcsc.adaptive.policies import ModelAtLambda
from robustcsc.adaptive.residuals import layer_residuals
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.gradients import unrolled_gradients
from robustcsc.layers.patch_code import PatchCode2d
from robustcsc.layers.qmetric import QMetricReLU


def coder(
    channels: int = 2, atoms: int = 7, size: int = 3, stride: int = 1, padding: int = 1, **options: object
) -> PatchCode2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchCode2d(channels, atoms, size, stride, padding, **options).double()  # type: ignore[arg-type]


def images(count: int = 2, channels: int = 2, side: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, side, side, generator=generator, dtype=torch.float64)


def matrices(layer: PatchCode2d, inputs: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the dictionary ``(M, k)``, the patches ``(P, M)`` and the codes ``(P, k)``."""
    patches = F.unfold(inputs, layer.weight.shape[2], padding=layer.padding, stride=layer.stride)
    return (
        layer.weight.detach().flatten(1).T,
        patches.transpose(1, 2).flatten(0, 1),
        codes.detach().flatten(2).transpose(1, 2).flatten(0, 1),
    )


def objective(dictionary: Tensor, patches: Tensor, codes: Tensor, lam: float, lam2: float) -> Tensor:
    error = (patches - codes @ dictionary.T).square().sum(1)
    return error / 2 + lam * codes.sum(1) + lam2 / 2 * codes.square().sum(1)


@pytest.mark.parametrize(("lam", "lam2", "stride"), [(0.2, 0.0, 1), (0.1, 0.3, 2)])
def test_codes_are_those_of_scikit_learn_on_the_patches(lam: float, lam2: float, stride: int) -> None:
    layer, inputs = coder(stride=stride, lam=lam, lam2=lam2, num_steps=300), images()
    codes = layer(inputs)
    assert codes.shape == (2, 7, 6 // stride, 6 // stride) and codes.min() >= 0
    dictionary, patches, flat = matrices(layer, inputs, codes)
    length, total = len(dictionary), lam + lam2
    reference = ElasticNet(
        alpha=total / length, l1_ratio=lam / total, fit_intercept=False, positive=True, tol=1e-12, max_iter=100_000
    )
    theirs = torch.tensor(np.stack([reference.fit(dictionary.numpy(), y.numpy()).coef_ for y in patches]))
    gap = objective(dictionary, patches, flat, lam, lam2) - objective(dictionary, patches, theirs, lam, lam2)
    assert gap.abs().max() < 1e-6
    torch.testing.assert_close(flat, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_central_differences() -> None:
    layer, inputs = coder(1, 4, lam=0.1, num_steps=1000), images(2, 1, 3)
    lam = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)

    def coded(x: Tensor, weight: Tensor, lams: Tensor) -> Tensor:
        result: Tensor = functional_call(layer, {"weight": weight, "lam": lams}, (x,))
        return result

    leaves = (inputs.requires_grad_(), layer.weight, lam)
    assert gradcheck(coded, leaves, fast_mode=True)


def test_a_learned_lambda_has_the_gradient_of_a_given_one() -> None:
    layer, inputs = coder(lam=0.0, learn_lambda=True), images()
    assert layer.learned is not None
    found = torch.autograd.grad(layer(inputs).square().sum(), layer.learned)[0]
    lam = torch.zeros((), dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(functional_call(layer, {"lam": lam}, (inputs,)).square().sum(), lam)[0]
    assert expected < 0  # a larger lambda makes smaller codes
    torch.testing.assert_close(found, expected)


def test_a_learned_lambda_stays_at_least_0_and_is_what_the_code_uses() -> None:
    layer, inputs = coder(lam=0.1, learn_lambda=True), images()
    assert layer.learned is not None
    with torch.no_grad():
        layer.learned.fill_(0.3)
    fixed = coder(lam=0.4, learn_lambda=True)
    torch.testing.assert_close(layer(inputs), fixed(inputs))
    with torch.no_grad():
        layer.learned.fill_(-5.0)
    assert layer.threshold == 0
    project_parameters(layer)
    assert layer.learned.item() == pytest.approx(-0.1) and layer.lam.item() == pytest.approx(0.1)


def test_atoms_keep_unit_norm_if_they_are_to() -> None:
    unit, free = coder(lam=0.1), coder(unit_atoms=False)
    with torch.no_grad():
        unit.weight.mul_(3)
    project_parameters(unit)
    norms = unit.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    before = free.weight.detach().clone()
    project_parameters(free)
    assert torch.equal(free.weight, before)


def test_a_layer_after_ddl_is_the_q_metric_relu_of_its_linear_part() -> None:
    """Theorem 3.1 of DeTraMe-Net: the code is the proximity operator in the metric Q of Q^-1 D'y."""
    lam, alpha = 0.1, 2.0
    layer, inputs = coder(lam=lam, lam2=alpha, num_steps=500), images()
    dictionary, patches, codes = matrices(layer, inputs, layer(inputs))
    quadratic = dictionary.T @ dictionary + alpha * torch.eye(7, dtype=torch.float64)
    values = torch.linalg.solve(quadratic, dictionary.T @ patches.T).T
    activation = QMetricReLU.from_dictionary(dictionary, alpha=alpha, beta=0.0, lam=lam, num_steps=500)
    torch.testing.assert_close(activation(values), codes, rtol=1e-6, atol=1e-8)


def test_the_residual_is_that_of_the_patches_over_their_overlap() -> None:
    for stride, cover in ((1, 9), (2, 9 / 4)):
        layer, inputs = coder(stride=stride, lam=0.1), images()
        codes = layer(inputs)
        dictionary, patches, flat = matrices(layer, inputs, codes)
        expected = (patches - flat @ dictionary.T).square().sum(1).view(2, -1).sum(1) / cover
        torch.testing.assert_close(layer.residual(inputs, codes), expected)
        squared, energy = layer_residuals(layer, inputs)
        torch.testing.assert_close(squared[:, 0], expected)
        torch.testing.assert_close(energy[:, 0], inputs.square().flatten(1).sum(1))


def test_patches_that_are_explained_give_back_the_image() -> None:
    layer = coder(1, 9, padding=0)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(9, dtype=torch.float64).view(9, 1, 3, 3))
    inputs = images(channels=1).abs()
    torch.testing.assert_close(layer.reconstruct(layer(inputs), inputs.shape), inputs)


def test_every_image_has_the_code_at_its_own_lambda() -> None:
    layer, inputs = coder(lam=0.1), images()
    each = functional_call(layer, {"lam": torch.tensor([0.05, 0.7], dtype=torch.float64)}, (inputs,))
    for image, lam, codes in zip(inputs, (0.05, 0.7), each, strict=True):
        torch.testing.assert_close(ModelAtLambda(layer, lam)(image[None])[0], codes, rtol=1e-6, atol=1e-8)


def test_implicit_gradients_are_refused_where_they_are_wrong() -> None:
    for lam2, steps in ((0.0, 500), (0.1, 50)):
        with pytest.raises(ValueError, match="10 atoms in patches of 9 numbers unless lam2 is above 0 and num_steps"):
            PatchCode2d(1, 10, 3, lam2=lam2, num_steps=steps)
    assert PatchCode2d(1, 10, 3, lam2=0.1, num_steps=200).gradient == "implicit"
    assert PatchCode2d(1, 10, 3, gradient="unrolled").gradient == "unrolled"
    for wrong in ({"num_steps": 0}, {"lam2": -1.0}, {"lam": -1.0}, {"gradient": "exact"}):
        with pytest.raises(ValueError):
            PatchCode2d(1, 8, 3, **wrong)


def test_unrolled_gradients_are_those_of_the_steps_that_were_computed() -> None:
    layer, inputs = coder(lam=0.1, num_steps=2), images().requires_grad_()
    implicit = torch.autograd.grad(layer(inputs).sum(), inputs)[0]
    with unrolled_gradients(layer):
        unrolled = torch.autograd.grad(layer(inputs).sum(), inputs)[0]
    assert (implicit - unrolled).norm() > 0.1 * unrolled.norm()
    step, delta = 1e-6, torch.ones_like(inputs)
    with torch.no_grad():
        along = (layer(inputs + step * delta).sum() - layer(inputs - step * delta).sum()) / (2 * step)
    torch.testing.assert_close((unrolled * delta).sum(), along, rtol=1e-6, atol=1e-6)
