import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.learned.metric import (
    SIDE,
    describe,
    draw_metric,
    metric_layers,
    metric_table,
    whole_weight,
)
from robustcsc.layers.qmetric import QMetricReLU, metric, responses


def layer(weight: torch.Tensor, blocks: int = 1) -> QMetricReLU:
    built = QMetricReLU(len(weight), (weight.shape[2], weight.shape[3]), blocks=blocks)
    with torch.no_grad():
        built.weight.copy_(weight)
    return built


def test_a_plain_relu_is_the_identity() -> None:
    found = describe("network.a.0", QMetricReLU(5, 3))
    assert (found.layer, found.channels, found.kernel) == ("a.0", 5, (3, 3))
    assert (found.norm, found.from_identity, found.asymmetry, found.largest_singular) == (0, 0, 0, 0)
    assert (found.gain, found.threshold) == ((1, 1, 1), (0, 0, 0))


def test_a_dense_metric_by_hand() -> None:
    weight = torch.tensor([[0.0, 0.3], [0.1, 0.0]])
    found = describe("a", layer(weight[:, :, None, None]))
    assert found.norm == pytest.approx(0.1**0.5)
    # I - W~ has the diagonal 1: the closest multiple of I is I itself.
    assert found.from_identity == pytest.approx((0.1 / 2.1) ** 0.5)
    assert found.asymmetry == pytest.approx((2 * 0.2**2) ** 0.5 / (2 * 0.1**0.5))
    assert found.largest_singular == pytest.approx(0.3)
    assert found.spectral_radius == pytest.approx(0.03**0.5)


def test_a_multiple_of_the_identity_has_distance_0() -> None:
    found = describe("a", layer(0.25 * torch.eye(3)[:, :, None, None]))
    assert found.from_identity == pytest.approx(0, abs=1e-12)
    assert found.asymmetry == 0


@pytest.mark.parametrize(("values", "asymmetry"), [((0.2, 0.0, 0.2), 0.0), ((0.2, 0.0, -0.2), 1.0)])
def test_the_spectrum_of_a_filter_is_that_of_a_circulant_matrix(values: tuple[float, ...], asymmetry: float) -> None:
    weight = torch.tensor(values).view(1, 1, 1, 3)
    found = describe("a", layer(weight))
    assert found.asymmetry == pytest.approx(asymmetry)
    angles = 2 * np.pi * np.arange(SIDE) / SIDE
    expected = values[0] * np.exp(-1j * angles) + values[2] * np.exp(1j * angles)
    np.testing.assert_allclose(responses(weight.double(), SIDE)[:, 0, 0].numpy(), expected, atol=1e-7)
    assert found.largest_singular == found.spectral_radius == pytest.approx(0.4)


def test_responses_have_the_singular_values_of_the_wrapped_convolution() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    inputs = torch.eye(2 * SIDE * SIDE, dtype=torch.float64).view(-1, 2, SIDE, SIDE)
    outputs = F.conv2d(F.pad(inputs, (1, 1, 1, 1), mode="circular"), weight)
    matrix = outputs.flatten(1).T
    expected = torch.linalg.svdvals(matrix)
    found = torch.linalg.svdvals(responses(weight, SIDE)).flatten().sort(descending=True).values
    torch.testing.assert_close(found, expected)
    radius = torch.linalg.eigvals(matrix).abs().max()
    assert float(torch.linalg.eigvals(responses(weight, SIDE)).abs().max()) == pytest.approx(float(radius))


def test_the_metric_of_a_dictionary_of_equal_norms_is_symmetric() -> None:
    torch.manual_seed(1)
    atoms = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q[:, :3] * 0.5
    atoms = atoms + 0.05
    atoms = atoms / atoms.norm(dim=0)
    built = QMetricReLU.from_dictionary(atoms, alpha=1.0, beta=0.5, lam=0.1, num_steps=3)
    found = describe("a", built)
    assert found.asymmetry == pytest.approx(0, abs=1e-12)
    quadratic = metric(atoms, 1.0)[:, :, 0, 0]
    scaled = (quadratic + 0.5 * torch.eye(3)) / (quadratic[0, 0] + 0.5)
    torch.testing.assert_close(torch.eye(3).double() - whole_weight(built)[:, :, 0, 0], scaled)
    assert found.threshold == pytest.approx((0.1 / 2.5,) * 3)


def test_blocks_are_laid_on_the_diagonal() -> None:
    torch.manual_seed(2)
    built = layer(torch.randn(4, 2, 3, 3), blocks=2)
    whole = whole_weight(built)
    values = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    expected = F.conv2d(values, built.weight.detach().double(), padding=1, groups=2)
    torch.testing.assert_close(F.conv2d(values, whole, padding=1), expected)


def test_table_and_figure() -> None:
    torch.manual_seed(3)
    built = layer(0.1 * torch.randn(4, 4, 3, 3))
    table = metric_table([describe("network.r", built)], "m")
    assert table.rows[0][:4] == ("r", 4, "3x3", 1)
    plot = draw_metric("network.r", built, "m")
    picture = np.asarray(plot.figure.axes[0].images[0].get_array())
    filters = built.weight.detach().flatten(2)
    np.testing.assert_allclose(np.abs(picture), filters.abs().amax(2).numpy(), rtol=1e-6)
    assert plot.to_png().startswith(b"\x89PNG")


def test_models_without_one_are_refused() -> None:
    assert list(metric_layers(nn.Sequential(nn.Conv2d(1, 2, 3), QMetricReLU(2)))) == ["1"]
    with pytest.raises(RobustCSCError, match="no Q-Metric ReLU"):
        metric_layers(nn.Sequential(nn.ReLU()))
