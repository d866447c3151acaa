"""CSC layers of sequences and of vectors, and the weight of the l2 norm."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet
from torch import Tensor, nn
from torch.func import functional_call

from robustcsc.layers.csc import CSCConv1d, CSCConv2d, CSCLayer, CSCLinear, csc_layers, fit_image_size
from robustcsc.layers.operator import ConvOperator

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], Tensor]
Make = Callable[..., CSCLayer]


def made(layer: CSCLayer, seed: int = 0) -> CSCLayer:
    """The layer in float64, with other atoms."""
    layer.double()
    with torch.no_grad():
        layer.dictionary.weight.normal_(generator=torch.Generator().manual_seed(seed))
    layer.dictionary.project_parameters()
    return layer


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{}, {"signed": True, "num_steps": 5}, {"lam2": 0.3, "solver": "ista"}])
@pytest.mark.parametrize("place", [(3, 1, 1, 1), (4, 2, 0, 2)])
def test_a_sequence_is_coded_as_an_image_of_one_row(place: tuple[int, int, int, int], options: dict[str, Any]) -> None:
    size, stride, padding, dilation = place
    layer = made(CSCConv1d(2, 5, *place, **options))
    image = made(CSCConv2d(2, 5, (1, size), (1, stride), (0, padding), (1, dilation), **options))
    assert layer.dictionary.weight.shape == (5, 2, size)
    with torch.no_grad():
        image.dictionary.weight.copy_(layer.dictionary.weight.unsqueeze(2))
    for it in (layer, image):
        it.dictionary.fit_image_size((1, 14))
    signals = random(3, 2, 14)
    codes = layer(signals)
    assert codes.shape == nn.Conv1d(2, 5, *place).double()(signals).shape
    torch.testing.assert_close(codes.unsqueeze(2), image(signals.unsqueeze(2)))
    torch.testing.assert_close(layer.residual(signals, codes), image.residual(signals.unsqueeze(2), codes.unsqueeze(2)))


@pytest.mark.parametrize("lam2", [0.0, 0.4])
@pytest.mark.parametrize("signed", [False, True])
def test_vectors_get_the_code_of_scikit_learn(signed: bool, lam2: float) -> None:
    layer, signals = made(CSCLinear(9, 14, lam=0.2, lam2=lam2, num_steps=1000, signed=signed)), random(4, 9)
    atoms = layer.dictionary.weight.detach()
    assert atoms.shape == (14, 9)
    torch.testing.assert_close(atoms.square().sum(1), torch.ones(14).double())
    # Its objective divides the squared error by the number of rows, and splits one weight between the norms.
    weight, share = (0.2 + lam2) / 9, 0.2 / (0.2 + lam2)
    net = ElasticNet(weight, l1_ratio=share, fit_intercept=False, positive=not signed, tol=1e-13, max_iter=100_000)
    with torch.no_grad():
        codes = layer(signals).numpy()
    expected = np.stack([net.fit(atoms.numpy().T, signal).coef_ for signal in signals.numpy()])
    assert (expected == 0).any() and (expected < 0).any() == signed
    np.testing.assert_allclose(codes, expected, atol=1e-6)


@pytest.mark.parametrize("lam2", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6), (4, 2, 3, 6)])
def test_every_vector_of_an_input_has_a_code_of_its_own(shape: tuple[int, ...], lam2: float) -> None:
    layer, signals = made(CSCLinear(6, 10, lam2=lam2)), random(*shape)
    step, atoms = 0.9 / layer.dictionary.lipschitz, layer.dictionary.weight
    exact = torch.linalg.matrix_norm(atoms, 2).square()
    torch.testing.assert_close(layer.dictionary.lipschitz, exact.detach(), rtol=1e-2, atol=0)
    first = (step * (signals @ atoms.T - 0.1)).relu() / (1 + step * lam2)
    second = (first + step * ((signals - first @ atoms) @ atoms.T - 0.1)).relu() / (1 + step * lam2)
    codes = layer(signals)
    torch.testing.assert_close(codes, second)
    torch.testing.assert_close(layer.residual(signals, codes), (signals - codes @ atoms).flatten(1).square().sum(1))


LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "2d": (lambda **options: CSCConv2d(2, 3, 3, 2, 1, **options), (2, 2, 5, 5)),
    "1d": (lambda **options: CSCConv1d(2, 3, 3, padding=1, **options), (2, 2, 7)),
    "tokens": (lambda **options: CSCLinear(4, 6, **options), (2, 3, 4)),
    "wide": (lambda **options: CSCConv2d(9, 3, 2, **options), (2, 9, 2, 3)),  # not a thin image
}


@pytest.mark.parametrize("kind", LAYERS)
def test_inputs_of_a_batch_have_lambdas_of_their_own(kind: str) -> None:
    make, shape = LAYERS[kind]
    layer, signals = made(make(lam2=0.2)), random(*shape)
    levels = torch.tensor([0.1, 0.4], dtype=torch.float64)
    codes = functional_call(layer, {"lam": levels}, (signals,))
    for index, level in enumerate(levels.tolist()):
        layer.lam = level
        torch.testing.assert_close(codes[index], layer(signals[index : index + 1])[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("options", [{"lam2": 0.5, "num_steps": 3}, {"lam2": 0.5, "signed": True}, {"num_steps": 3}])
def test_gradients_are_those_of_finite_differences(kind: str, options: dict[str, Any]) -> None:
    make, shape = LAYERS[kind]
    layer, signals = made(make(lam=0.05, **options)), random(*shape).requires_grad_()
    weight = layer.dictionary.weight.detach().clone().requires_grad_()

    def codes(signals: Tensor, weight: Tensor, lam: Tensor) -> Tensor:
        result: Tensor = functional_call(layer, {"dictionary.weight": weight, "lam": lam}, (signals,))
        return result

    for lam in (torch.tensor(0.05).double(), torch.tensor([0.05, 0.1]).double()):
        assert torch.autograd.gradcheck(codes, (signals, weight, lam.requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("signed", [False, True])
def test_over_orthonormal_atoms_the_elastic_net_is_a_shrunk_threshold(signed: bool) -> None:
    layer = CSCConv2d(1, 3, 2, 2, lam=0.25, lam2=0.5, num_steps=60, signed=signed).double()
    with torch.no_grad():
        layer.dictionary.weight.copy_(torch.linalg.qr(random(4, 3))[0].T.view(3, 1, 2, 2))
    layer.dictionary.project_parameters()
    planted = random(2, 3, 3, 3, seed=3)
    codes = layer(layer.operator.synthesize(planted, (6, 6)))
    expected = planted.sign() * (planted.abs() - 0.25).clamp_min(0) / 1.5
    torch.testing.assert_close(codes, expected if signed else expected.clamp_min(0), rtol=0, atol=1e-12)


def test_images_get_the_elastic_net_of_scikit_learn(dense_matrix: DenseMatrix) -> None:
    layer, images = made(CSCConv2d(2, 5, 3, padding=1, lam=0.2, lam2=0.3, num_steps=400)), random(1, 2, 5, 5)
    layer.dictionary.fit_image_size((5, 5))
    matrix, target = dense_matrix(layer.operator, (5, 5)).numpy(), images.flatten().numpy()
    net = ElasticNet(0.5 / len(target), l1_ratio=0.4, fit_intercept=False, positive=True, tol=1e-12, max_iter=100_000)
    with torch.no_grad():
        np.testing.assert_allclose(layer(images).flatten().numpy(), net.fit(matrix, target).coef_, atol=1e-6)


@pytest.mark.parametrize("lam2", [-0.1, float("nan"), float("inf")])
def test_an_l2_weight_that_is_no_weight_is_refused(lam2: float) -> None:
    with pytest.raises(ValueError, match="lam2 must be at least 0"):
        CSCLinear(2, 3, lam2=lam2)


def test_step_sizes_are_fitted_to_sequences_and_vectors() -> None:
    model = nn.Sequential(nn.Flatten(2), CSCConv1d(1, 4, 3), nn.Flatten(), CSCLinear(4 * 34, 5))
    fit_image_size(model, (1, 6, 6))
    sequences, vectors = csc_layers(model).values()
    assert sequences.dictionary.eigenvector.shape == (1, 1, 1, 36)
    assert vectors.dictionary.eigenvector.shape == (1, 4 * 34, 1, 1)
