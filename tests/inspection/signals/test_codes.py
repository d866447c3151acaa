import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.signals.codes import Histogram, classes_table, codes_table, histogram_table, inspect_codes
from robustcsc.inspection.specimen import Specimen
from robustcsc.layers.csc import CSCConv2d, CSCLinear
from robustcsc.layers.task_driven import ElasticNetCode

Make = Callable[..., Specimen]


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=50), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_a_histogram_is_that_of_all_values_however_they_come(values: list[float], size: int) -> None:
    histogram = Histogram()
    for piece in torch.split(torch.tensor(values, dtype=torch.float64), size):
        histogram.add(piece)
    edges = np.arange(-128, 129) * histogram.width
    places = np.searchsorted(edges, values, side="right") - 1
    np.testing.assert_array_equal(histogram.counts.numpy(), np.bincount(places, minlength=256))
    narrower = histogram.width / 2  # the width is the smallest that fits
    assert histogram.width == 2.0**-40 or not all(-128 * narrower <= value < 128 * narrower for value in values)


def test_codes_by_hand(specimen: Make) -> None:
    # 1x1 atoms 1 and -1 with lambda 0.2, solved: z = (max(x - 0.2, 0), max(-x - 0.2, 0))
    layer = CSCConv2d(1, 2, 1, lam=0.2, num_steps=100)
    with torch.no_grad():
        layer.dictionary.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        layer.dictionary.project_parameters()
    images = torch.tensor([[0.1, 0.5], [0.2, 0.2], [1.2, 0.0]]).view(3, 1, 1, 2)
    labels = torch.tensor([0, 2, 0])
    given = specimen(nn.Sequential(layer), images, labels, classes=("a", "b", "c"), batch_size=2)
    (found,) = inspect_codes(given).facts
    assert (found.layer, found.shape, found.images, found.values) == ("0", (2, 1, 2), 3, 12)
    assert found.zeros == pytest.approx(10 / 12)  # all but 0.3 and 1.0
    assert found.negative == 0
    assert found.mean_size == pytest.approx(0.65, rel=1e-4)
    assert found.largest_size == pytest.approx(1.0, rel=1e-4)
    assert found.active == pytest.approx(2 / 3)
    assert found.unused == 1  # the second atom
    assert found.class_images == (2, 0, 1)
    assert found.class_zeros[0] == pytest.approx(6 / 8)
    assert math.isnan(found.class_zeros[1])
    assert found.class_zeros[2] == 1
    assert found.class_atoms == (1, 0, 0)
    assert sum(found.bins.values()) == 2
    for value in (0.3, 1.0):
        assert any(at * found.bin_width - 1e-4 <= value <= (at + 1) * found.bin_width + 1e-4 for at in found.bins)
    assert classes_table([found], ("a", "b", "c"), "m").texts == (
        ("0", "a", "2", "75.0", "1.0", "1", "2"),
        ("0", "b", "0", "", "", "0", "2"),
        ("0", "c", "1", "100.0", "0.0", "0", "2"),
    )
    assert histogram_table([found], "m").texts[0] == ("0", "0", "0", "10")
    assert codes_table([found], "m").texts[0][:4] == ("0", "CSC", "2x1x2", "83.3")


def test_the_atoms_of_tokens_are_counted(specimen: Make) -> None:
    layer = CSCLinear(2, 2, lam=0.2, num_steps=100)
    with torch.no_grad():
        layer.dictionary.weight.copy_(torch.eye(2))
        layer.dictionary.project_parameters()
    images = torch.tensor([[0.1, 0.5, 0.0, 0.9, 0.0, 0.3], [0.0, 0.0, 0.1, 0.7, 0.0, 0.0]]).view(2, 1, 3, 2)
    model = nn.Sequential(nn.Flatten(1, 2), layer)
    (found,) = inspect_codes(specimen(model, images, torch.tensor([0, 1]), classes=("a", "b"))).facts
    assert (found.shape, found.unused, found.class_atoms) == ((2, 3), 1, (1, 1))  # atoms x tokens
    assert found.zeros == pytest.approx(8 / 12)


def test_signed_codes_and_vectors(specimen: Make) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(CSCConv2d(1, 3, 3, signed=True), nn.Flatten(), ElasticNetCode(48, 7, lam=0.05))
    images, labels = torch.randn(6, 1, 6, 6), torch.arange(6) % 2
    found = inspect_codes(specimen(model, images, labels, classes=("a", "b"))).facts
    with torch.no_grad():
        first = model[0](images)
        second = model[2](first.flatten(1))
    for it, codes in zip(found, (first, second), strict=True):
        assert it.zeros == pytest.approx(float((codes == 0).double().mean()))
        assert it.negative == pytest.approx(float((codes < 0).double().mean()))
        assert it.negative > 0.05
        for label in (0, 1):
            part = codes[labels == label]
            assert it.class_zeros[label] == pytest.approx(float((part == 0).double().mean()))
            used = (part != 0).flatten(2).any(2) if part.ndim > 2 else part != 0
            assert it.class_atoms[label] == int(used.any(0).sum())
    whole = torch.cat((first.flatten(), second.flatten()))
    assert codes_table(found, "m").texts[-1][3] == f"{100 * float((whole == 0).double().mean()):.1f}"
    assert found[1].shape == (7,)


def test_the_figure_has_a_panel_per_layer_on_a_logarithmic_scale_with_the_zeros_apart(specimen: Make) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(CSCConv2d(1, 3, 3), CSCConv2d(3, 2, 3))
    found = inspect_codes(specimen(model, torch.rand(4, 1, 8, 8), draw=True))
    (plot,) = found.drawings
    assert len(plot.figure.axes) == 2
    for ax, it in zip(plot.figure.axes, found.facts, strict=True):
        assert ax.get_yscale() == "log"
        (bar,) = (patch for patch in ax.patches if type(patch).__name__ == "Rectangle")
        assert bar.get_height() == pytest.approx(it.zeros)  # type: ignore[attr-defined]
        assert f"{100 * it.zeros:.1f} % zeros" in ax.get_title(loc="left")


def test_no_images_are_refused(specimen: Make) -> None:
    model = nn.Sequential(CSCConv2d(1, 3, 3))
    with pytest.raises(RobustCSCError, match="no images"):
        inspect_codes(specimen(model, torch.rand(0, 1, 8, 8)))
