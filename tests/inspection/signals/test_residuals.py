import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.sheets import Array
from robustcsc.inspection.signals.auc import auc, placements
from robustcsc.inspection.signals.residuals import (
    ImageResiduals,
    detections,
    image_residuals,
    residual_layers,
    residuals_chart,
    residuals_table,
)
from robustcsc.layers.csc import CSCConv2d
from robustcsc.presentation.drawn_chart import draw

SCORES = st.lists(st.integers(-3, 3), min_size=2, max_size=30)


@given(SCORES, SCORES)
@settings(max_examples=100, deadline=None)
def test_the_area_is_that_of_scikit_learn_with_ties_counted_half(low: list[int], high: list[int]) -> None:
    negative, positive = np.array(low, float), np.array(high, float)
    labels = [0] * len(low) + [1] * len(high)
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    below, above = placements(negative, positive)
    area = roc_auc_score(labels, [*low, *high])
    assert (below.mean(), above.mean()) == pytest.approx((area, area), abs=1e-12)
    np.testing.assert_allclose(below, wins.mean(1), atol=1e-12)
    np.testing.assert_allclose(above, wins.mean(0), atol=1e-12)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_interval_contains_the_area_and_lies_in_0_to_1(pairs: list[tuple[int, int]]) -> None:
    negative, positive = np.array(pairs, float).T
    found = auc(negative, positive)
    labels = [0] * len(pairs) + [1] * len(pairs)
    assert found.area == pytest.approx(roc_auc_score(labels, [*negative, *positive]), abs=1e-12)
    assert 0 <= found.low <= found.area <= found.high <= 1


def test_the_variance_is_that_of_pairs_by_hand() -> None:
    # Placements of 2, 4, 3 among 1, 3, 5: V10 = (1/3, 2/3, 1/2); of 1, 3, 5 among 2, 4, 3: V01 = (1, 1/2, 0).
    negative, positive = np.array([1.0, 3.0, 5.0]), np.array([2.0, 4.0, 3.0])
    found = auc(negative, positive)
    sums = np.array([1 / 3 + 1, 2 / 3 + 1 / 2, 1 / 2 + 0])
    variance = ((sums - 1) ** 2).sum() / 2 / 3
    assert found.area == pytest.approx(0.5)
    reach = np.log(found.high / (1 - found.high))
    assert reach == pytest.approx(1.959964 * variance**0.5 / 0.25, rel=1e-5)
    assert found.low == pytest.approx(1 - found.high)


@pytest.mark.parametrize("common", [0.8, 0.0])
def test_intervals_cover_the_true_area(common: float) -> None:
    random = np.random.default_rng(0)
    shift = 1.0
    covered = 0
    for _ in range(400):
        shared = random.normal(size=60)
        negative, positive = (
            common * shared + (1 - common**2) ** 0.5 * random.normal(size=60) + move for move in (0.0, shift)
        )
        found = auc(negative, positive)
        covered += found.low <= 0.7602499389065 <= found.high  # Phi(1 / sqrt 2), for independent x and y
    assert 0.92 < covered / 400 < 0.98


def test_pairs_of_the_same_image_have_a_narrower_interval_where_they_go_together() -> None:
    random = np.random.default_rng(1)
    negative = random.normal(size=200)
    positive = negative + 0.5 + 0.1 * random.normal(size=200)
    narrow, wide = auc(negative, positive), auc(negative, random.permutation(positive))
    assert narrow.area == pytest.approx(wide.area)
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_a_perfect_detector_has_an_interval_that_says_nothing() -> None:
    found = auc(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert (found.area, found.low, found.high) == (1, 1, 1)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(CSCConv2d(1, 4, 3, padding=1), nn.ReLU(), CSCConv2d(4, 3, 3), nn.Flatten())


@torch.no_grad()
@pytest.mark.parametrize(("patterns", "places"), [((), (0, 1)), (("2",), (1,)), (("0",), (0,))])
def test_residuals_are_those_of_the_layers_averaged(patterns: tuple[str, ...], places: tuple[int, ...]) -> None:
    network = model()
    images = torch.rand(5, 1, 8, 8)
    layers = residual_layers(network, patterns)
    assert layers == list(places)
    first, second = network[0], network[2]
    assert isinstance(first, CSCConv2d) and isinstance(second, CSCConv2d)
    codes = first(images)
    inner = torch.stack((first.residual(images, codes), second.residual(codes, second(codes))))
    energy = torch.stack((images.square().sum((1, 2, 3)), codes.square().sum((1, 2, 3))))
    batches = torch.split(images, 2)
    squared = image_residuals(network, layers, batches, "squared")
    np.testing.assert_allclose(squared, inner[list(places)].mean(0).numpy(), rtol=1e-5)
    relative = image_residuals(network, layers, batches, "relative")
    expected = (inner / energy)[list(places)].mean(0).numpy()
    np.testing.assert_allclose(relative, expected, rtol=1e-5)


def residuals(clean: Array) -> ImageResiduals:
    return ImageResiduals(corruption="clean", severity=0, values=clean)


def test_the_table_has_mean_quantiles_and_area() -> None:
    clean = np.arange(1.0, 102.0)
    noisy = ImageResiduals(corruption="gaussian_noise", severity=3, values=clean + 50)
    first, second = detections([residuals(clean), noisy])
    assert (first.mean, first.quantiles, first.auc) == (51, (6, 26, 51, 76, 96), None)
    assert second.auc is not None
    expected = roc_auc_score([0] * 101 + [1] * 101, np.concatenate((clean, clean + 50)))
    assert second.auc.area == pytest.approx(expected)
    table = residuals_table([first, second], "squared", 2, "m")
    assert table.texts[0] == ("clean", "", "51", "6", "26", "51", "76", "96", "")
    assert table.texts[1][:3] == ("gaussian_noise", "3", "101")
    assert table.texts[1][-1].startswith(f"{expected:.4f} [")
    assert "mean over 2 layers" in table.notes[0]


def test_the_figure_has_a_panel_per_corruption_and_a_line_per_severity() -> None:
    clean = np.array([1.0, 3.0, 2.0])
    noisy = [
        ImageResiduals(corruption=name, severity=severity, values=clean + severity)
        for name in ("gaussian_noise", "shot_noise")
        for severity in (1, 5)
    ]
    figure = draw(residuals_chart([residuals(clean), *noisy], "squared", "m")).figure
    assert len(figure.axes) == 2
    for ax in figure.axes:
        assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2, 3], [2, 3, 4], [6, 7, 8]]  # type: ignore[arg-type]
        np.testing.assert_allclose(ax.lines[0].get_ydata(), [1 / 3, 2 / 3, 1])  # type: ignore[arg-type]


def test_models_without_a_lambda_unknown_layers_and_too_few_images_are_refused() -> None:
    with pytest.raises(RobustCSCError, match="no layer with a lambda"):
        residual_layers(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(RobustCSCError, match="no layer '1'"):
        residual_layers(model(), ["1"])
    with pytest.raises(RobustCSCError, match="no images"):
        image_residuals(model(), [0], [], "squared")
    with pytest.raises(RobustCSCError, match="at least two"):
        detections([residuals(np.array([1.0]))])
