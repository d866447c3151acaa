"""Mutual coherence of a convolutional dictionary: how much two of its atoms are alike at most.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (arXiv:1912.02605), lemma 1; Donoho and Elad, PNAS 2003.

Differences from the paper:
- Atoms are those that lie inside the image as a whole; at the border, where padding cuts them, they may be more alike.
- It says that the identity in ``[I F']`` does not affect the coherence. It does: the inner product of an atom of unit
  norm with a column of the identity is one entry of the atom, and the largest entry is a lower bound of the coherence.
"""

import torch
from torch import Tensor

from robustcsc.layers.qmetric import metric


@torch.no_grad()
def mutual_coherence(atoms: Tensor, *, stride: int = 1, dilation: int = 1, identity: bool = False) -> float:
    """Returns ``mu(D) = max |<d_i, d_j>|`` over all pairs of different columns, scaled to unit norm.

    The columns are the atoms at all positions of the grid. Two atoms overlap only at distances that are multiples of
    both the stride and the dilation. Atoms that are 0 are left out.

    Args:
        atoms: ``(k, C, kh, kw)``.
        stride: Distance between neighbouring positions of an atom.
        dilation: Distance between neighbouring taps of an atom.
        identity: Whether the dictionary is ``[I D]``.

    Returns:
        A number in [0, 1]; 0 for orthogonal columns.
    """
    norms = torch.linalg.vector_norm(atoms, dim=(1, 2, 3))
    unit = atoms[norms > 0] / norms[norms > 0][:, None, None, None]
    if not len(unit):
        return 0.0
    products = metric(unit, 0.0).abs()
    middle = (products.shape[2] // 2, products.shape[3] // 2)
    products[:, :, *middle].fill_diagonal_(0)  # of a column with itself
    offsets = [torch.arange(-half, half + 1, device=atoms.device) for half in middle]
    reachable = [(offset * dilation) % stride == 0 for offset in offsets]
    largest = float((products * (reachable[0][:, None] & reachable[1])).max())
    return min(1.0, max(largest, float(unit.abs().max())) if identity else largest)
