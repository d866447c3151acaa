import numpy as np
import pytest
import torch
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.learned.atoms import MOST_FILTERS, Dictionary, atoms_table, dictionaries, draw_atoms, facts
from robustcsc.inspection.sheets import sheet, stretched
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.task_driven import ElasticNetCode


def test_norms_and_coherence_of_vectors_by_hand() -> None:
    layer = ElasticNetCode(2, 3, lam=0.1)
    with torch.no_grad():
        layer.dictionary.copy_(torch.tensor([[1.0, 0.0, 0.3], [0.0, 0.5, 0.4]]))
    (dictionary,) = dictionaries(nn.Sequential(layer))
    found = facts(dictionary)
    assert (found.layer, found.kind, found.shape) == ("0", "task-driven", (3, 2))
    # norms 1, 0.5, 0.5; cosines 0, 0.3 / 0.5, 0.4 / 0.5
    assert (found.smallest_norm, found.largest_norm) == pytest.approx((0.5, 1.0))
    assert found.coherence == pytest.approx(0.8)


def test_coherence_of_shifted_atoms_heeds_stride_and_dilation() -> None:
    # An atom (1, 1) / sqrt 2 in a row overlaps its neighbour by 1/2 at distance 1, but not at distance 2.
    for stride, expected in ((1, 0.5), (2, 0.0)):
        layer = CSCConv2d(1, 1, (1, 2), stride)
        with torch.no_grad():
            layer.dictionary.weight.copy_(torch.tensor([[[[1.0, 1.0]]]]))
            layer.dictionary.project_parameters()
        found = facts(dictionaries(nn.Sequential(layer))[0])
        assert found.coherence == pytest.approx(expected)
        assert (found.smallest_norm, found.largest_norm) == pytest.approx((1.0, 1.0))


def test_all_kinds_of_layers_have_their_atoms() -> None:
    torch.manual_seed(0)
    dense, multi = DenseCSCConv2d(3, 4, dilation=2, unfolding=0), MultilayerCSCConv2d(3, 5, 4, 2, unfolding=1)
    found = dictionaries(nn.Sequential(dense, multi, CSCConv2d(1, 2, 3, 2, dilation=3)))
    assert [it.layer.kind for it in found] == ["MSD-CSC", "ML-CSC", "CSC"]
    assert [it.operator.stride for it in found] == [(1, 1), (2, 2), (2, 2)]
    assert [it.operator.dilation for it in found] == [(2, 2), (1, 1), (3, 3)]
    assert found[0].atoms is not dense.weight and torch.equal(found[0].atoms, dense.weight)
    assert torch.equal(found[1].atoms, multi.weight)
    table = atoms_table(map(facts, found), "m")
    assert [row[2:4] for row in table.rows] == [(4, "3x3x3"), (5, "3x4x4"), (2, "1x3x3")]


def test_pictures_are_stretched_and_lie_side_by_side_between_white_lines() -> None:
    pictures = np.arange(3 * 1 * 2 * 2, dtype=float).reshape(3, 1, 2, 2)
    whole = sheet(stretched(pictures))
    expected = np.ones((6, 6))
    for row, column in ((0, 0), (0, 3), (3, 0)):
        expected[row : row + 2, column : column + 2] = [[0, 1 / 3], [2 / 3, 1]]
    np.testing.assert_allclose(whole[:, :, 0], expected)
    assert stretched(np.full((1, 1, 2, 2), 7.0)).max() == 0


def test_channels_are_stretched_apart_where_asked() -> None:
    pictures = np.array([[[[0.0, 1.0]], [[5.0, 9.0]]]])
    np.testing.assert_allclose(stretched(pictures, by_channel=True), [[[[0, 1]], [[0, 1]]]])
    np.testing.assert_allclose(stretched(pictures), pictures / 9)


def drawn(channels: int, count: int = 4) -> np.ndarray:
    torch.manual_seed(1)
    weight = torch.randn(count, channels, 3, 3)
    layer = MultilayerCSCConv2d(channels, count, 3, unfolding=0)
    layer.load_state_dict({"weight": weight}, strict=False)
    plot = draw_atoms(Dictionary("a.0", layer), "m")
    assert plot.to_png().startswith(b"\x89PNG")
    (ax,) = plot.figure.axes
    return np.asarray(ax.images[0].get_array())


def test_atoms_of_colour_images_are_colour_pictures() -> None:
    torch.manual_seed(1)
    first = torch.randn(4, 3, 3, 3)[0].permute(1, 2, 0).double().numpy()
    image = drawn(3)
    assert image.shape == (8, 8, 3)
    np.testing.assert_allclose(image[:3, :3], (first - first.min()) / (first.max() - first.min()))


def test_atoms_of_codes_are_a_matrix_of_filters_at_most_64_by_64() -> None:
    torch.manual_seed(1)
    first = torch.randn(4, 5, 3, 3)[0].double().numpy()
    image = drawn(5)
    assert image.shape == (4 * 4, 5 * 4)
    np.testing.assert_allclose(image[:3, 4:7], (first[1] - first.min()) / (first.max() - first.min()))
    assert drawn(70, count=66).shape == (MOST_FILTERS * 4, MOST_FILTERS * 4)


def test_layers_can_be_chosen_and_models_without_are_refused() -> None:
    model = nn.Sequential(CSCConv2d(1, 2, 3), CSCConv2d(2, 2, 3))
    assert [it.name for it in dictionaries(model, ["1"])] == ["1"]
    with pytest.raises(RobustCSCError, match="no layer '7'"):
        dictionaries(model, ["7"])
    with pytest.raises(RobustCSCError, match="no sparse-coding layer"):
        dictionaries(nn.Sequential(nn.ReLU()))
