from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Lasso
from torch import Tensor, nn
from torch.func import functional_call

from robustcsc.layers.csc import CSCConv2d, csc_layers, fit_image_size
from robustcsc.layers.lambdas import set_lambda
from robustcsc.layers.operator import ConvOperator

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], Tensor]

#: in_channels, out_channels, kernel_size, stride, padding, dilation: as nn.Conv2d takes them.
LAYOUTS: list[tuple[Any, ...]] = [
    (3, 4, 1, 1, 0, 1),
    (3, 4, 3, 1, 1, 1),
    (2, 5, 3, 2, 1, 1),
    (2, 5, 5, 3, 2, 1),
    (2, 4, 3, 2, 0, 2),
    (1, 3, (3, 5), (1, 2), (0, 2), (2, 1)),
]


def make(*arguments: Any, size: tuple[int, int] = (6, 6), seed: int = 0, **options: Any) -> CSCConv2d:
    """A float64 layer whose step size fits images of `size`."""
    torch.manual_seed(seed)
    layer = CSCConv2d(*arguments, **options).double()
    layer.dictionary.project_parameters()  # unit norm in float64
    layer.dictionary.fit_image_size(size)
    return layer


def random_images(count: int, channels: int, size: tuple[int, int] = (6, 6), seed: int = 1) -> Tensor:
    return torch.randn(count, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal_layer(**options: Any) -> tuple[CSCConv2d, Tensor, Tensor]:
    """Orthonormal 2x2 atoms that do not overlap, non-negative planted codes and the images they synthesise."""
    layer = make(1, 3, 2, 2, **options)
    with torch.no_grad():
        layer.dictionary.weight.copy_(torch.linalg.qr(layer.dictionary.weight.view(3, 4).T)[0].T.view(3, 1, 2, 2))
    layer.dictionary.project_parameters()
    planted = random_images(2, 3, (3, 3)).relu()
    return layer, planted, layer.operator.synthesize(planted, (6, 6)).detach()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_step_is_a_convolution_a_threshold_and_a_relu(layout: tuple[Any, ...]) -> None:
    layer = make(*layout, size=(7, 8), num_steps=1)
    conv = nn.Conv2d(*layout).double()
    conv.weight, conv.bias = layer.dictionary.weight, None
    images = random_images(2, layout[0], (7, 8))
    step_size = 0.9 / layer.dictionary.lipschitz
    torch.testing.assert_close(layer(images), F.relu(step_size * conv(images) - step_size * 0.1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(6, 6), (7, 8), (9, 7)])
def test_the_output_has_the_size_of_the_convolution_it_replaces(layout: tuple[Any, ...], size: tuple[int, int]) -> None:
    images = random_images(2, layout[0], size)
    assert make(*layout)(images).shape == nn.Conv2d(*layout).double()(images).shape


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("num_steps", "reached"), [(1, 0.9), (2, 0.99)])
def test_planted_codes_of_an_orthonormal_dictionary_come_back_shrunk(
    lam: float, num_steps: int, reached: float
) -> None:
    # L = 1, so each step closes 0.9 of the distance to the solution, which is max(planted - lam, 0).
    layer, planted, images = orthonormal_layer(num_steps=num_steps)
    layer.lam = lam  # type: ignore[assignment]
    torch.testing.assert_close(layer(images), reached * (planted - lam).clamp_min(0), rtol=0, atol=1e-10)


def test_signed_codes_recover_both_signs() -> None:
    layer, planted, images = orthonormal_layer(signed=True, lam=0.25)
    torch.testing.assert_close(layer(-images), -0.99 * (planted - 0.25).clamp_min(0), rtol=0, atol=1e-10)
    layer.signed = False
    assert torch.count_nonzero(layer(-images)) == 0


@pytest.mark.parametrize("signed", [False, True])
def test_many_steps_agree_with_the_lasso_of_scikit_learn(signed: bool, dense_matrix: DenseMatrix) -> None:
    layer = make(2, 5, 3, 1, 1, signed=signed, lam=0.2, num_steps=1500)
    images = random_images(1, 2)
    matrix, target = dense_matrix(layer.operator, (6, 6)).numpy(), images.flatten().numpy()
    # Its objective divides the squared error by the number of rows.
    lasso = Lasso(0.2 / len(target), fit_intercept=False, positive=not signed, tol=1e-10, max_iter=1_000_000)
    expected = lasso.fit(matrix, target).coef_
    with torch.no_grad():
        codes = layer(images).flatten().numpy()

    def objective(z: np.ndarray) -> float:
        return float(0.2 * np.abs(z).sum() + ((target - matrix @ z) ** 2).sum() / 2)

    assert objective(codes) == pytest.approx(objective(expected), rel=1e-6)
    assert 0 < np.count_nonzero(codes) < len(codes)
    assert bool(codes.min() < 0) == signed
    # Optimality: the correlation of the residual is lam on the support and at most lam elsewhere.
    correlation = matrix.T @ (target - matrix @ codes)
    support = codes != 0
    np.testing.assert_allclose(correlation[support], 0.2 * np.sign(codes[support]), rtol=0, atol=1e-5)
    assert (np.abs(correlation[~support]) if signed else correlation[~support]).max() <= 0.2 + 1e-5


@pytest.mark.parametrize(("signed", "num_steps"), [(False, 2), (True, 3)])
def test_gradients_of_images_atoms_and_lambda_are_those_of_finite_differences(signed: bool, num_steps: int) -> None:
    layer = make(2, 3, 3, 2, 1, size=(5, 5), signed=signed, num_steps=num_steps)
    images = random_images(2, 2, (5, 5)).requires_grad_()
    weight = layer.dictionary.weight.detach().clone().requires_grad_()

    def codes(images: Tensor, weight: Tensor, lam: Tensor) -> Tensor:
        state = {"dictionary.weight": weight, "lam": lam}
        result: Tensor = functional_call(layer, state, (images,))
        return result

    for lam in (torch.tensor(0.1).double(), torch.tensor([0.1, 0.3]).double()):
        lam.requires_grad_()
        assert torch.autograd.gradcheck(codes, (images, weight, lam))
        (gradient,) = torch.autograd.grad(codes(images, weight, lam).abs().sum(), lam)
        assert (gradient < 0).all()  # a larger lambda gives smaller codes


def test_assigning_lambda_acts_at_once() -> None:
    layer, images = make(2, 5, 3, 1, 1), random_images(2, 2)
    codes = layer(images)
    layer.lam = 0.5  # type: ignore[assignment]
    assert torch.equal(layer(images), make(2, 5, 3, 1, 1, lam=0.5)(images))
    assert not torch.equal(layer(images), codes)
    layer.lam = 1000  # type: ignore[assignment]
    assert torch.count_nonzero(layer(images)) == 0
    assert layer.lam0 == 0.1
    assert layer.lam.dtype == torch.float64


def test_set_lambda_reaches_every_layer_at_any_depth() -> None:
    model = nn.Sequential(CSCConv2d(1, 2, 3), nn.Sequential(nn.ReLU(), CSCConv2d(2, 2, 3)), nn.Conv2d(2, 2, 1))
    assert list(csc_layers(model)) == ["0", "1.1"]
    set_lambda(model, 0.7)
    assert [layer.lam.item() for layer in csc_layers(model).values()] == [pytest.approx(0.7)] * 2


@pytest.mark.parametrize("signed", [False, True])
def test_a_lambda_per_image_equals_one_image_at_a_time(signed: bool) -> None:
    layer, images = make(2, 5, 3, 2, 1, signed=signed, num_steps=3), random_images(3, 2)
    levels = torch.tensor([0.0, 0.1, 0.6], dtype=torch.float64)
    layer.lam = levels
    batch = layer(images)
    for index, level in enumerate(levels.tolist()):
        layer.lam = level
        torch.testing.assert_close(batch[index : index + 1], layer(images[index : index + 1]), rtol=1e-12, atol=1e-14)


def test_the_code_of_an_image_does_not_depend_on_its_batch() -> None:
    layer, images = make(2, 5, 3, 1, 1), random_images(4, 2)
    batch = layer(images)
    torch.testing.assert_close(layer(images[2:3]), batch[2:3], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(layer(images.flip(0)), batch.flip(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_residual_is_what_the_atoms_leave_unexplained(layout: tuple[Any, ...], dense_matrix: DenseMatrix) -> None:
    layer, images = make(*layout, size=(7, 8)), random_images(2, layout[0], (7, 8))
    codes = layer(images)
    difference = images.flatten(1) - codes.flatten(1) @ dense_matrix(layer.operator, (7, 8)).T
    torch.testing.assert_close(layer.residual(images, codes), difference.square().sum(1))
    torch.testing.assert_close(layer.residual(images, torch.zeros_like(codes)), images.flatten(1).square().sum(1))


@pytest.mark.parametrize("training", [True, False])
def test_a_forward_pass_leaves_no_trace(training: bool) -> None:
    layer = make(2, 5, 3, 1, 1).train(training)
    before = {name: tensor.clone() for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    layer(random_images(2, 2, (9, 4))).sum().backward()
    assert before.keys() == {"dictionary.weight", "lam", "dictionary.lipschitz", "dictionary.eigenvector"}
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        assert torch.equal(tensor, before[name]), name


def test_bfloat16_autocast_is_close_and_differentiable() -> None:
    layer = make(2, 5, 3, 1, 1).float()
    images = random_images(2, 2).float().requires_grad_()
    exact = layer(images)
    for lam in (torch.tensor(0.1), torch.tensor([0.1, 0.1])):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            codes = functional_call(layer, {"lam": lam}, (images,))
            residual = layer.residual(images, codes)
        assert codes.dtype == torch.bfloat16
        assert residual.dtype == torch.float32
        assert (codes.float() - exact).abs().max() < 0.02 * exact.max()
        codes.float().sum().backward()
        assert images.grad is not None
        assert torch.isfinite(images.grad).all()
        assert images.grad.abs().max() > 0


@pytest.mark.parametrize(
    "options", [{"lam": -0.1}, {"lam": float("nan")}, {"num_steps": 0}, {"num_steps": -1}, {"solver": "admm"}]
)
def test_settings_that_define_no_code_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be at least|solver"):
        CSCConv2d(1, 2, 3, **options)


@pytest.mark.parametrize("lam", [-0.1, -1, float("nan")])
def test_a_lambda_below_zero_is_refused_when_assigned(lam: float) -> None:
    layer = CSCConv2d(1, 2, 3)
    with pytest.raises(ValueError, match="lam must be at least 0"):
        layer.lam = lam  # type: ignore[assignment]
    with pytest.raises(ValueError, match="lam must be at least 0"):
        set_lambda(layer, lam)
    assert layer.lam.item() == pytest.approx(0.1)


def test_a_loaded_state_gives_identical_codes_without_a_refresh() -> None:
    trained = make(2, 5, 3, 1, 1, seed=0)
    trained.lam = 0.3  # type: ignore[assignment]
    fresh = make(2, 5, 3, 1, 1, seed=7)
    images = random_images(2, 2)
    assert not torch.equal(fresh(images), trained(images))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(images), trained(images))
    assert fresh.lam == trained.lam == 0.3


@pytest.mark.parametrize("size", [(6, 6), (9, 7)])
def test_with_atoms_of_zero_the_code_is_zero_and_everything_finite(size: tuple[int, int]) -> None:
    layer = make(2, 5, 3, 1, 1)
    nn.init.zeros_(layer.dictionary.weight)
    layer.dictionary.project_parameters()
    layer.dictionary.fit_image_size(size)
    images = random_images(2, 2, size).requires_grad_()
    codes = layer(images)
    assert torch.equal(codes, torch.zeros_like(codes))
    assert layer.step_size.item() == 0.9
    torch.testing.assert_close(layer.residual(images, codes), images.flatten(1).square().sum(1))
    lasso = layer.lasso(images.shape)
    assert lasso.beta == pytest.approx(0.1)
    assert lasso.convergence == pytest.approx(0.9)
    gradients = torch.autograd.grad(codes.sum(), [images, layer.dictionary.weight])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


class Spoiled(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no such images")


@pytest.fixture
def model() -> nn.Sequential:
    """Two CSC layers, the second of which sees images of half the size; modes are mixed."""
    torch.manual_seed(0)
    layers = CSCConv2d(2, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.Dropout(), CSCConv2d(3, 4, 3, 1, 1)
    model = nn.Sequential(*layers).double().train()
    model[2].eval()  # the batch normalisation trains: its statistics would move
    return model


def test_the_image_size_is_traced_to_every_layer(model: nn.Sequential, dense_matrix: DenseMatrix) -> None:
    fit_image_size(model, (2, 6, 5))
    sizes: list[tuple[int, int]] = [(6, 5), (3, 3)]
    for layer, size in zip(csc_layers(model).values(), sizes, strict=True):
        assert list(layer.dictionary.eigenvector.shape[2:]) == list(size)
        exact = torch.linalg.matrix_norm(dense_matrix(layer.operator, size), 2).square().item()
        assert 0.9 * exact < layer.dictionary.lipschitz.item() <= exact * (1 + 1e-6)


def test_fitting_the_image_size_leaves_modes_weights_statistics_and_hooks_alone(model: nn.Sequential) -> None:
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "lipschitz" not in name}
    fit_image_size(model, (2, 6, 6))
    model.append(Spoiled())
    with pytest.raises(RuntimeError, match="no such images"):
        fit_image_size(model, (2, 6, 6))
    assert [module.training for module in model.modules()] == [*modes, True]
    assert not any(module._forward_pre_hooks for module in model.modules())
    for name, tensor in before.items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_model_without_csc_layers_is_not_even_called() -> None:
    fit_image_size(Spoiled(), (2, 6, 6))
