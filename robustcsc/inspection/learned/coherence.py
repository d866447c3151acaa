"""Mutual coherence of a convolutional dictionary: the largest similarity of two of its atoms.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (arXiv:1912.02605), lemma 1; Donoho and Elad, PNAS 2003.

Differences from the paper:
- Only atoms that lie entirely inside the image count; at the border, where padding cuts them, they may be more alike.
- The paper says that the identity in ``[I F']`` does not affect the coherence. It does: the inner product of an atom of
  unit norm and a column of the identity is an entry of the atom, so the largest entry bounds the coherence from below.
"""

import torch

from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.qmetric import metric


@torch.no_grad()
def mutual_coherence(operator: ConvOperator, *, identity: bool = False) -> float:
    """Returns ``mu(D) = max |<d_i, d_j>|`` over all pairs of different columns, scaled to unit norm.

    The columns are the atoms at all positions of the grid. Two atoms overlap only at distances that are multiples of
    both the stride and the dilation. Atoms that are 0 are left out.

    Args:
        operator: The atoms and their placement.
        identity: Whether the dictionary is ``[I D]``.

    Returns:
        A number in [0, 1]; 0 for orthogonal columns.
    """
    atoms = operator.weight
    norms = torch.linalg.vector_norm(atoms, dim=(1, 2, 3))
    unit = atoms[norms > 0] / norms[norms > 0][:, None, None, None]
    if not len(unit):
        return 0.0
    products = metric(unit, 0.0).abs()
    middle = (products.shape[2] // 2, products.shape[3] // 2)
    products[:, :, *middle].fill_diagonal_(0)  # of a column with itself
    reachable = [
        (torch.arange(-half, half + 1, device=atoms.device) * dilation) % stride == 0
        for half, dilation, stride in zip(middle, operator.dilation, operator.stride, strict=True)
    ]
    largest = float((products * (reachable[0][:, None] & reachable[1])).max())
    return min(1.0, max(largest, float(unit.abs().max())) if identity else largest)
