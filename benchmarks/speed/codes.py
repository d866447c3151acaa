"""Elastic-net codes over 400 atoms, beside spams at the gap where it stops.

Spams is left out with a message where it is not installed.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version

import numpy as np
import torch
from row import Row, in_turn

from robustcsc.layers.elastic_net import duality_gap, elastic_net

SIGNALS, FEATURES, ATOMS, ACTIVE, LAM = 1000, 196, 400, 15, 2.0


def rows() -> list[Row]:
    """Returns the row, none without spams."""
    try:
        spams = importlib.import_module("spams")
    except ImportError:
        print("codes: left out, spams is not installed (`pip install spams-bin`).", file=sys.stderr)
        return []
    draw = torch.Generator().manual_seed(0)
    atoms = torch.rand(FEATURES, ATOMS, generator=draw) + 0.3 * torch.randn(FEATURES, ATOMS, generator=draw)
    atoms = torch.nn.functional.normalize(atoms.double(), dim=0)
    chosen = torch.rand(SIGNALS, ATOMS, generator=draw).topk(ACTIVE, 1).indices
    planted = torch.zeros(SIGNALS, ATOMS, dtype=torch.float64).scatter_(1, chosen, 2.0)
    noise = 0.05 * torch.randn(SIGNALS, FEATURES, generator=draw)
    features = planted @ atoms.T + noise
    lam = torch.full((SIGNALS,), LAM, dtype=torch.float64)
    signals, dictionary = (np.asfortranarray(each.numpy()) for each in (features.T, atoms))

    def theirs() -> torch.Tensor:
        codes = spams.lasso(signals, D=dictionary, lambda1=LAM, mode=2, numThreads=1)
        return torch.from_numpy(codes.toarray().T)

    def gap(codes: torch.Tensor) -> float:
        return float((duality_gap(features, atoms, codes, lam) / features.square().sum(1) * 2).max())

    reached = gap(theirs())

    def ours() -> torch.Tensor:
        return elastic_net(features, atoms, lam, gap=reached)

    timing = in_turn(ours, theirs, repeats=9)
    note = f"largest relative duality gap {gap(ours()):.1e}, theirs {reached:.1e}"
    what = f"elastic-net codes, {SIGNALS} signals, {ATOMS} atoms"
    return [Row.timed("codes", what, f"spams {version('spams-bin')}", timing, 1.1, note=note)]
