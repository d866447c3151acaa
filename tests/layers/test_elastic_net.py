"""Codes are compared with scikit-learn's coordinate descent, closed forms and optimality itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet
from torch import Tensor

from robustcsc.layers import elastic_net as module
from robustcsc.layers.elastic_net import GAP, duality_gap, elastic_net


def problem(m: int, p: int, n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Signals and unit atoms, float64."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = torch.randn(m, p, generator=generator, dtype=torch.float64)
    return torch.randn(n, m, generator=generator, dtype=torch.float64), dictionary / dictionary.norm(dim=0)


def objective(features: Tensor, dictionary: Tensor, codes: Tensor, lam: Tensor, lam2: float) -> Tensor:
    """Eq. 3, written out."""
    fit = (features - codes @ dictionary.T).square().sum(1) / 2
    return fit + lam * codes.abs().sum(1) + lam2 / 2 * codes.square().sum(1)


def by_scikit_learn(features: Tensor, dictionary: Tensor, lam: Tensor, lam2: float) -> Tensor:
    m = len(dictionary)
    codes = []
    for signal, weight in zip(features, lam.tolist(), strict=True):
        solver = ElasticNet(
            alpha=(weight + lam2) / m,
            l1_ratio=weight / (weight + lam2),
            fit_intercept=False,
            tol=1e-13,
            max_iter=1_000_000,
        )
        codes.append(solver.fit(dictionary.numpy(), signal.numpy()).coef_)
    return torch.from_numpy(np.stack(codes))


def fractions(features: Tensor, dictionary: Tensor, share: float) -> Tensor:
    """Lambda of each signal as a share of the one from which its code is zero."""
    return share * (features @ dictionary).abs().amax(1)


@pytest.mark.parametrize("lam2", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.7, 0.2, 0.05])
@pytest.mark.parametrize(("m", "p"), [(8, 6), (10, 25), (30, 60)])
def test_the_objective_is_that_of_scikit_learn(m: int, p: int, share: float, lam2: float) -> None:
    features, dictionary = problem(m, p)
    lam = fractions(features, dictionary, share)
    codes = elastic_net(features, dictionary, lam, lam2)
    expected = by_scikit_learn(features, dictionary, lam, lam2)
    ours, theirs = (objective(features, dictionary, it, lam, lam2) for it in (codes, expected))
    assert ((ours - theirs) / theirs).abs().max() < 1e-8
    torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lam2", [0.0, 0.3])
def test_over_an_orthonormal_dictionary_the_code_is_one_soft_threshold(lam2: float) -> None:
    generator = torch.Generator().manual_seed(1)
    dictionary = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64))[0]
    features = torch.randn(5, 9, generator=generator, dtype=torch.float64)
    correlation = features @ dictionary
    expected = correlation.sign() * (correlation.abs() - 0.4).clamp_min(0) / (1 + lam2)
    codes = elastic_net(features, dictionary, torch.full((5,), 0.4, dtype=torch.float64), lam2)
    torch.testing.assert_close(codes, expected, rtol=1e-12, atol=1e-13)
    assert torch.equal(codes == 0, expected == 0)


@pytest.mark.parametrize("share", [0.9, 0.3, 0.05, 0.003])
@pytest.mark.parametrize(("m", "p"), [(1, 1), (3, 40), (20, 7), (24, 48)])
def test_every_code_has_the_stated_gap(m: int, p: int, share: float) -> None:
    features, dictionary = problem(m, p, n=20, seed=m + p)
    lam = fractions(features, dictionary, share)
    codes = elastic_net(features, dictionary, lam)
    # the gap by hand: any feasible dual point bounds the optimum from below
    residual = features - codes @ dictionary.T
    dual = residual * (lam / (residual @ dictionary).abs().amax(1)).clamp_max(1)[:, None]
    bound = (features.square() - (features - dual).square()).sum(1) / 2
    gap = (objective(features, dictionary, codes, lam, 0.0) - bound) / (features.square().sum(1) / 2)
    assert gap.max() <= GAP * 1.01
    assert gap.min() > -1e-14


def test_the_gap_bounds_the_distance_to_the_optimum() -> None:
    features, dictionary = problem(12, 20)
    lam = fractions(features, dictionary, 0.2)
    best = objective(features, dictionary, by_scikit_learn(features, dictionary, lam, 0.1), lam, 0.1)
    for scale in (0.0, 0.1, 3.0):
        codes = scale * torch.randn(6, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        missing = objective(features, dictionary, codes, lam, 0.1) - best
        assert (duality_gap(features, dictionary, codes, lam, 0.1) >= missing - 1e-9).all()


def test_a_signal_alone_has_the_code_it_has_among_others() -> None:
    features, dictionary = problem(20, 60, n=150)
    features[::3] *= 1e-3  # of very different norm
    lam = fractions(features, dictionary, 0.5)
    lam[::2] *= 0.05  # and with paths of very different length
    together = elastic_net(features, dictionary, lam)
    assert len(set((together != 0).sum(1).tolist())) > 5
    for row in (0, 1, 2, 77, 149):
        alone = elastic_net(features[row : row + 1], dictionary, lam[row : row + 1])[0]
        assert torch.equal(alone != 0, together[row] != 0)
        torch.testing.assert_close(alone, together[row], rtol=1e-9, atol=1e-12 * float(features[row].norm()))


def test_signals_in_several_chunks_are_coded_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features, dictionary = problem(10, 20, n=50)
    lam = fractions(features, dictionary, 0.2)
    whole = elastic_net(features, dictionary, lam)
    monkeypatch.setattr(module, "CPU_CHUNK", 7)
    torch.testing.assert_close(elastic_net(features, dictionary, lam), whole, rtol=1e-9, atol=1e-12)
    assert elastic_net(features[:0], dictionary, lam[:0]).shape == (0, 20)


def test_from_the_largest_correlation_on_a_code_is_zero() -> None:
    features, dictionary = problem(10, 20)
    features[0] = 0
    codes = elastic_net(features, dictionary, fractions(features, dictionary, 1.0).clamp_min(1e-3))
    assert not codes.any()
    assert elastic_net(features, dictionary, fractions(features, dictionary, 0.999).clamp_min(1e-3))[1:].any(1).all()


def test_float32_features_lose_only_the_rounding_of_their_codes() -> None:
    features, dictionary = problem(20, 50)
    lam = fractions(features, dictionary, 0.1)
    features, dictionary, lam = features.float(), dictionary.float(), lam.float()
    codes = elastic_net(features, dictionary, lam)
    assert codes.dtype == torch.float32
    exact = elastic_net(features.double(), dictionary.double(), lam.double())
    torch.testing.assert_close(codes.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["twins", "opposites", "dependent"])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_atoms_that_depend_on_each_other_do_no_harm(kind: str, share: float) -> None:
    features, dictionary = problem(10, 15)
    others = {"twins": dictionary, "opposites": -dictionary, "dependent": dictionary + dictionary.roll(1, 1)}[kind]
    doubled = torch.cat([dictionary, others / others.norm(dim=0)], 1)
    lam = fractions(features, doubled, share)
    codes = elastic_net(features, doubled, lam)
    expected = objective(features, doubled, by_scikit_learn(features, doubled, lam, 0.0), lam, 0.0)
    ours = objective(features, doubled, codes, lam, 0.0)
    assert ((ours - expected) / expected).abs().max() < 1e-8


def test_ties_do_no_harm() -> None:
    """All atoms reach the bound at once: every coordinate of a constant signal over the identity."""
    dictionary = torch.eye(12, dtype=torch.float64)
    features = torch.ones(2, 12, dtype=torch.float64)
    codes = elastic_net(features, dictionary, torch.full((2,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(codes, torch.full((2, 12), 0.75, dtype=torch.float64), rtol=1e-9, atol=0)


def test_where_paths_do_not_suffice_fista_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    features, dictionary = problem(12, 20)
    lam = fractions(features, dictionary, 0.2)
    expected = elastic_net(features, dictionary, lam, 0.01)
    walked: list[torch.dtype] = []

    def lost(rest: module._Problem, dtype: torch.dtype, block: int) -> tuple[Tensor, Tensor]:
        walked.append(dtype)
        return torch.zeros_like(rest.correlation), torch.zeros(len(rest.lam), dtype=torch.bool)

    monkeypatch.setattr(module, "_along_paths", lost)
    codes = elastic_net(features, dictionary, lam, 0.01)
    assert walked == [torch.float32, torch.float64]
    assert (duality_gap(features, dictionary, codes, lam, 0.01) <= GAP / 2 * features.square().sum(1)).all()
    torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-5)


def test_a_larger_gap_is_kept_and_takes_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, dictionary = problem(40, 120, n=30)
    lam = fractions(features, dictionary, 0.2)
    rounds: list[int] = []
    solve = module._Signals.solve

    def counted(signals: module._Signals, gram: Tensor) -> None:
        rounds.append(len(signals.rows))
        solve(signals, gram)

    monkeypatch.setattr(module._Signals, "solve", counted)
    taken = []
    for gap in (GAP, 1e-2):
        rounds.clear()
        codes = elastic_net(features, dictionary, lam, gap=gap)
        found = duality_gap(features, dictionary, codes, lam) / features.square().sum(1) * 2
        assert found.max() <= gap
        taken.append(sum(rounds))
    assert found.max() > 1e-6
    assert taken[1] < taken[0]


def test_the_gap_of_a_zero_code_is_that_of_its_largest_correlation() -> None:
    """With E = ||x||^2 and t = lam / max |c|, it is (1 - t)^2 E / 2."""
    features, dictionary = problem(12, 20)
    scale = torch.tensor([0.1, 0.5, 0.9, 1.0, 1.5, 3.0], dtype=torch.float64)
    lam = fractions(features, dictionary, 1.0) * scale
    found = duality_gap(features, dictionary, torch.zeros(6, 20, dtype=torch.float64), lam)
    expected = (1 - scale).clamp_min(0).square() * features.square().sum(1) / 2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same_codes() -> None:
    features, dictionary = problem(20, 60, n=100)
    lam = fractions(features, dictionary, 0.1)
    codes = elastic_net(features.cuda(), dictionary.cuda(), lam.cuda()).cpu()
    torch.testing.assert_close(codes, elastic_net(features, dictionary, lam), rtol=1e-8, atol=1e-11)
