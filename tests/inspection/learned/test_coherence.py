import itertools

import pytest
import torch
import torch.nn.functional as F

from robustcsc.inspection.learned.coherence import mutual_coherence
from robustcsc.layers.operator import ConvOperator


def dense_coherence(atoms: torch.Tensor, stride: int, dilation: int, identity: bool) -> float:
    """From all columns of the matrix, each atom at every position where it lies inside the image as a whole."""
    _, channels, *taps = atoms.shape
    side = 3 * dilation * max(taps) + stride
    columns = []
    for atom in atoms:
        reach = [dilation * (tap - 1) + 1 for tap in taps]
        for i, j in itertools.product(*(range(0, side - it + 1, stride) for it in reach)):
            image = torch.zeros(channels, side, side).double()
            image[:, i : i + reach[0] : dilation, j : j + reach[1] : dilation] = atom
            columns.append(image.flatten())
    matrix = F.normalize(torch.stack(columns))
    if identity:
        matrix = torch.cat((matrix, torch.eye(matrix.shape[1]).double()))
    products = (matrix @ matrix.T).abs()
    return float(products.fill_diagonal_(0).max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "dilation"),
    [
        ((3, 2, 3, 3), 1, 1),
        ((2, 1, 3, 3), 1, 2),
        ((2, 1, 3, 3), 1, 3),
        ((2, 2, 4, 4), 2, 1),
        ((2, 1, 3, 3), 2, 3),
        ((2, 1, 3, 3), 3, 2),
        ((1, 1, 3, 2), 1, 1),
        ((3, 4, 1, 1), 1, 1),
        ((3, 2, 3, 3), 3, 1),
    ],
)
def test_it_is_the_largest_inner_product_of_two_columns_of_the_dense_matrix(
    shape: tuple[int, ...], stride: int, dilation: int, identity: bool, seed: int
) -> None:
    atoms = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    expected = dense_coherence(atoms, stride, dilation, identity)
    found = mutual_coherence(ConvOperator(atoms, (stride,) * 2, dilation=(dilation,) * 2), identity=identity)
    assert found == pytest.approx(expected, rel=1e-12)


def test_known_dictionaries() -> None:
    twins = torch.tensor([[1.0, 2.0], [-2.0, -4.0]])[:, :, None, None]
    assert mutual_coherence(ConvOperator(twins)) == pytest.approx(1)
    orthogonal = torch.tensor([[1.0, 2.0], [-2.0, 1.0]])[:, :, None, None]
    assert mutual_coherence(ConvOperator(orthogonal)) == pytest.approx(0, abs=1e-6)
    # The paper's claim that the identity does not matter fails here: |<e_2, (1, 2)>| / |(1, 2)|.
    assert mutual_coherence(ConvOperator(orthogonal), identity=True) == pytest.approx(2 / 5**0.5)
    box = torch.ones(1, 1, 1, 2)
    assert mutual_coherence(ConvOperator(box)) == pytest.approx(0.5)  # neighbours share one of two pixels
    assert mutual_coherence(ConvOperator(box, (1, 2))) == 0
    assert mutual_coherence(ConvOperator(box, (2, 1))) == pytest.approx(0.5)


def test_a_dead_atom_is_left_out() -> None:
    atoms = torch.zeros(2, 1, 1, 2)
    assert mutual_coherence(ConvOperator(atoms), identity=True) == 0
    atoms[0] = 1
    assert mutual_coherence(ConvOperator(atoms)) == pytest.approx(0.5)
