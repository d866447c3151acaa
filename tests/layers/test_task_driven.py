"""The implicit gradient against central differences, a converged unrolled solver, and Algorithm 1 written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call

from robustcsc.errors import RobustCSCError
from robustcsc.layers.elastic_net import GAP, elastic_net
from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import ista
from robustcsc.layers.task_driven import ElasticNetCode, implicit_beta


def layer(features: int = 12, atoms: int = 20, lam: float = 0.3, lam2: float = 0.0) -> ElasticNetCode:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ElasticNetCode(features, atoms, lam=lam, lam2=lam2).double()


def signals(count: int, size: int = 12, seed: int = 1) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def call(coder: ElasticNetCode, features: Tensor, dictionary: Tensor, lam: Tensor) -> Tensor:
    codes: Tensor = functional_call(coder, {"dictionary": dictionary, "lam": lam}, (features,))
    return codes


@pytest.mark.parametrize("lam2", [0.0, 0.2])
@pytest.mark.parametrize("single", [True, False])
def test_gradients_agree_with_central_differences(lam2: float, single: bool) -> None:
    coder = layer(5, 7, lam2=lam2)
    features = signals(3, 5).requires_grad_()
    lam = torch.full(() if single else (3,), 0.3, dtype=torch.float64).requires_grad_()
    codes = call(coder, features, coder.dictionary, lam)
    assert len(set((codes != 0).sum(1).tolist())) > 1  # active sets of different size
    assert gradcheck(
        lambda x, d, weight: call(coder, x, d, weight),
        (features, coder.dictionary, lam),
        eps=1e-6,
        atol=1e-7,
        rtol=1e-5,
    )


@pytest.mark.parametrize("lam2", [0.0, 0.1])
def test_gradients_agree_with_those_through_a_converged_solver(lam2: float) -> None:
    coder = layer(10, 8, 0.2, lam2)
    leaves = (signals(4, 10), coder.dictionary.detach(), torch.tensor(0.2, dtype=torch.float64))
    weights = signals(4, 8, seed=2)

    def unrolled(features: Tensor, dictionary: Tensor, lam: Tensor) -> Tensor:
        gram = dictionary.T @ dictionary
        step_size = 0.9 / float(torch.linalg.matrix_norm(gram.detach(), 2))
        return ista(
            lambda z: z @ gram - features @ dictionary,
            lambda v: soft_threshold(v, step_size * lam) / (1 + step_size * lam2),
            torch.zeros(4, 8, dtype=torch.float64),
            step_size,
            3000,
        )

    gradients = []
    for solver in (lambda x, d, lam: call(coder, x, d, lam), unrolled):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        codes = solver(*inputs)
        gradients.append((codes.detach(), *torch.autograd.grad((codes * weights).sum(), inputs)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_gradients_are_those_of_algorithm_1_summed_over_the_batch() -> None:
    coder = layer(lam2=0.05)
    features, weights = signals(7).requires_grad_(), signals(7, 20, seed=3)
    codes = coder(features)
    (codes * weights).sum().backward()
    assert coder.dictionary.grad is not None and features.grad is not None
    d, expected = coder.dictionary.detach(), torch.zeros(12, 20, dtype=torch.float64)
    for x, alpha, g, own in zip(features.detach(), codes.detach(), weights, features.grad, strict=True):
        active = alpha.nonzero().flatten()
        beta = torch.zeros(20, dtype=torch.float64)
        gram = d[:, active].T @ d[:, active] + 0.05 * torch.eye(len(active), dtype=torch.float64)
        beta[active] = torch.linalg.solve(gram, g[active])
        torch.testing.assert_close(own, d @ beta)
        expected += -torch.outer(d @ beta, alpha) + torch.outer(x - d @ alpha, beta)
    torch.testing.assert_close(coder.dictionary.grad, expected)


def test_float32_gradients_are_those_of_float64() -> None:
    coder, features = layer(40, 100, 0.6), signals(9, 40)
    single = ElasticNetCode(40, 100, lam=0.6)
    single.load_state_dict(coder.state_dict())
    gradients = []
    for it, dtype in ((coder, torch.float64), (single, torch.float32)):
        leaf = features.to(dtype, copy=True).requires_grad_()
        it(leaf).square().sum().backward()
        assert leaf.grad is not None and it.dictionary.grad is not None
        gradients.append((leaf.grad.double(), it.dictionary.grad.double()))
    for exact, rounded in zip(*gradients, strict=True):
        assert (exact - rounded).norm() < 1e-3 * exact.norm()


def test_a_code_of_zero_teaches_nothing() -> None:
    coder = layer(lam=100.0)
    features = signals(3).requires_grad_()
    codes = coder(features)
    assert not codes.any()
    codes.sum().backward()
    assert features.grad is not None and not features.grad.any()
    zero = torch.zeros(3, 20, dtype=torch.float64)
    assert not implicit_beta(zero, zero + 1, coder.dictionary.detach(), 1e-6).any()


def test_dependent_atoms_leave_the_gradient_finite() -> None:
    coder = layer(6, 4)
    with torch.no_grad():
        coder.dictionary[:, 1] = coder.dictionary[:, 0]
    codes = coder(signals(5, 6))
    codes.square().sum().backward()
    assert coder.dictionary.grad is not None and coder.dictionary.grad.isfinite().all()


def test_each_image_has_the_lambda_it_is_given() -> None:
    coder, features = layer(), signals(3)
    lam = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    together = call(coder, features, coder.dictionary, lam)
    for row in range(3):
        coder.lam = float(lam[row])  # type: ignore[assignment]
        torch.testing.assert_close(coder(features[row : row + 1])[0], together[row])
    assert coder.lam0 == 0.3


def test_atoms_are_projected_onto_the_unit_ball() -> None:
    coder = layer(5, 3)
    before = coder.dictionary.detach().clone()
    with torch.no_grad():
        coder.dictionary.mul_(torch.tensor([0.5, 1.0, 4.0]))
    coder.project_parameters()
    torch.testing.assert_close(coder.dictionary.detach(), before * torch.tensor([0.5, 1.0, 1.0]))


def test_the_residual_is_what_the_code_leaves_unexplained() -> None:
    coder, features = layer(), signals(4)
    codes = coder(features).detach()
    expected = [
        float((x - coder.dictionary.detach() @ alpha).norm()) ** 2 for x, alpha in zip(features, codes, strict=True)
    ]
    assert coder.residual(features, codes).tolist() == pytest.approx(expected)


def test_low_precision_features_are_coded_in_that_of_the_dictionary() -> None:
    coder = layer().float()
    features = signals(4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = coder(features)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, coder(features.float()))


@pytest.mark.parametrize("lam", [0.0, -1.0, float("nan")])
def test_a_lambda_that_is_not_above_zero_is_refused(lam: float) -> None:
    with pytest.raises(ValueError, match="lam must be above 0"):
        ElasticNetCode(3, 4, lam=lam)
    coder = layer()
    with pytest.raises(ValueError, match="lam must be above 0"):
        coder.lam = lam  # type: ignore[assignment]
    with pytest.raises(RobustCSCError, match=r"needs a lambda above 0, not .*choose another one"):
        call(coder, signals(2), coder.dictionary, torch.tensor([0.1, lam], dtype=torch.float64))


@pytest.mark.parametrize("sizes", [{"lam2": -0.1}, {"lam2": float("inf")}, {"features": 0}, {"atoms": 0}])
def test_sizes_and_weights_without_sense_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1 and lam2 at least 0"):
        ElasticNetCode(**({"features": 3, "atoms": 4, "lam": 0.1} | sizes))  # type: ignore[arg-type]


def test_codes_have_the_gap_that_is_asked() -> None:
    coder = layer(40, 100)
    rough = ElasticNetCode(40, 100, lam=0.3, gap=1e-2).double()
    rough.load_state_dict(coder.state_dict())
    features = signals(30, 40)
    codes = rough(features)
    assert coder.gap == GAP
    assert torch.equal(coder(features), elastic_net(features, coder.dictionary, torch.full((30,), 0.3).double()))
    assert torch.equal(codes, elastic_net(features, coder.dictionary, torch.full((30,), 0.3).double(), gap=1e-2))
    assert not torch.equal(codes, coder(features))


@pytest.mark.parametrize("gap", [0.0, 1e-13, 1.0, float("nan")])
def test_gaps_without_sense_are_refused(gap: float) -> None:
    with pytest.raises(ValueError, match="gap must be from 1e-12 to below 1"):
        ElasticNetCode(3, 4, lam=0.1, gap=gap)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_one_sentence(value: float) -> None:
    features = signals(3)
    features[1, 2] = value
    with pytest.raises(RobustCSCError, match=r"^The features to code are not all finite: check the images for NaN"):
        layer()(features)


def test_an_atom_of_norm_zero_is_one_sentence() -> None:
    coder = layer()
    with torch.no_grad():
        coder.dictionary[:, 7] = 0
    with pytest.raises(RobustCSCError, match=r"^Atom 7 of the dictionary is zero.*initialise the dictionary again\.$"):
        coder(signals(2))
