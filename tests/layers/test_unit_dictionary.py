from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustcsc.layers import unit_dictionary as module
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.unit_dictionary import UnitDictionary

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], Tensor]

#: in_channels, atoms, kernel, stride, padding, dilation, image size
LAYOUTS = [
    (1, 3, (1, 1), (1, 1), (0, 0), (1, 1), (5, 6)),
    (2, 4, (3, 3), (1, 1), (1, 1), (1, 1), (6, 6)),
    (2, 3, (3, 3), (2, 2), (1, 1), (1, 1), (6, 7)),
    (2, 3, (3, 3), (2, 2), (0, 0), (2, 2), (7, 6)),
    (1, 4, (5, 5), (3, 3), (2, 2), (1, 1), (6, 6)),
    (3, 2, (3, 1), (1, 2), (0, 1), (1, 1), (5, 6)),
]
Layout = tuple[int, int, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def make(layout: Layout, seed: int = 0) -> tuple[UnitDictionary, tuple[int, int]]:
    torch.manual_seed(seed)
    image_size = layout[-1]
    dictionary = UnitDictionary(*layout[:-1]).double()
    dictionary.fit_image_size(image_size)
    return dictionary, image_size


def buffers(dictionary: UnitDictionary) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in dictionary.named_buffers()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_lipschitz_is_the_squared_largest_singular_value(layout: Layout, seed: int, dense_matrix: DenseMatrix) -> None:
    dictionary, image_size = make(layout, seed)
    exact = torch.linalg.matrix_norm(dense_matrix(dictionary.operator, image_size), 2).square().item()
    # A Rayleigh quotient never exceeds the eigenvalue; above 0.9 of it, the step 0.9 / lipschitz is a safe one.
    assert 0.9 * exact < dictionary.lipschitz.item() <= exact * (1 + 1e-12)
    close = pytest.approx(exact, rel=1e-6)
    for _ in range(1000):  # the tolerance stops each of them early where two eigenvalues are close
        dictionary.update_lipschitz()
        if dictionary.lipschitz.item() == close:
            break
    assert dictionary.lipschitz.item() == close
    assert dictionary.eigenvector.norm().item() == pytest.approx(1, abs=1e-12)


def test_equal_atoms_that_overlap_nowhere_have_lipschitz_equal_to_their_number() -> None:
    dictionary = UnitDictionary(2, 3, (2, 2), stride=(2, 2)).double()
    with torch.no_grad():
        dictionary.weight.copy_(dictionary.weight[:1].expand(3, -1, -1, -1))
    dictionary.project_parameters()
    assert dictionary.lipschitz.item() == pytest.approx(3, abs=1e-12)


def test_projection_gives_unit_atoms_of_the_same_direction() -> None:
    dictionary, _ = make(LAYOUTS[1])
    scales = torch.tensor([1e-3, 0.5, 7, 300], dtype=torch.float64).view(-1, 1, 1, 1)
    directions = dictionary.weight.detach().clone()
    with torch.no_grad():
        dictionary.weight.mul_(scales)
    scaled = dictionary.weight.detach().clone()
    dictionary.project_parameters()
    torch.testing.assert_close(dictionary.weight.detach().square().sum((1, 2, 3)), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(dictionary.weight.detach() * scaled.flatten(1).norm(dim=1).view(-1, 1, 1, 1), scaled)
    torch.testing.assert_close(dictionary.weight.detach(), directions)


def test_a_new_dictionary_has_unit_atoms() -> None:
    norms = UnitDictionary(3, 16, (5, 5)).weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(16))


def test_an_atom_that_died_leaves_the_others_finite() -> None:
    dictionary, _ = make(LAYOUTS[1])
    with torch.no_grad():
        dictionary.weight[0] = 0
    dictionary.project_parameters()
    assert torch.isfinite(dictionary.weight).all()
    assert 0 < dictionary.lipschitz < 100


def test_atoms_of_zero_stay_zero_and_have_lipschitz_1() -> None:
    """A = 0 solves any lasso with z = 0, whatever the step size; the largest eigenvalue, 0, would make it infinite."""
    dictionary, image_size = make(LAYOUTS[1])
    nn.init.zeros_(dictionary.weight)
    for _ in range(2):
        dictionary.project_parameters()
        assert dictionary.lipschitz.item() == 1
        assert not dictionary.weight.any()
    dictionary.fit_image_size(image_size)
    assert dictionary.lipschitz.item() == 1
    nn.init.normal_(dictionary.weight)  # and it recovers
    dictionary.project_parameters()
    assert 1 < dictionary.lipschitz.item() < 100


def test_a_diverged_atom_is_not_taken_for_zero() -> None:
    dictionary, _ = make(LAYOUTS[1])
    with torch.no_grad():
        dictionary.weight[0, 0, 0, 0] = torch.nan
    dictionary.project_parameters()
    assert dictionary.lipschitz.isnan()


def test_projection_updates_lipschitz(dense_matrix: DenseMatrix) -> None:
    dictionary, image_size = make(LAYOUTS[1])
    with torch.no_grad():
        dictionary.weight.copy_(dictionary.weight[:1].expand_as(dictionary.weight))
    dictionary.project_parameters()
    exact = torch.linalg.matrix_norm(dense_matrix(dictionary.operator, image_size), 2).square().item()
    assert 0.9 * exact < dictionary.lipschitz.item() <= exact * (1 + 1e-12)


def test_the_next_power_iteration_continues_from_the_last_eigenvector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POWER_TOLERANCE", 0.0)
    monkeypatch.setattr(module, "POWER_ITERATIONS", 1)
    stepwise, _ = make(LAYOUTS[2])
    for _ in range(6):
        stepwise.update_lipschitz()
    monkeypatch.setattr(module, "POWER_ITERATIONS", 7)
    at_once, _ = make(LAYOUTS[2])
    torch.testing.assert_close(stepwise.eigenvector, at_once.eigenvector, rtol=0, atol=1e-12)
    torch.testing.assert_close(stepwise.lipschitz, at_once.lipschitz, rtol=1e-12, atol=0)


def test_after_a_small_change_of_the_weights_a_few_iterations_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, image_size = make(LAYOUTS[1])
    for _ in range(10):
        dictionary.update_lipschitz()
    with torch.no_grad():
        dictionary.weight.add_(1e-4 * torch.randn_like(dictionary.weight))
    calls = 0
    synthesize = ConvOperator.synthesize

    def counted(self: ConvOperator, codes: Tensor, size: tuple[int, int]) -> Tensor:
        nonlocal calls
        calls += 1
        return synthesize(self, codes, size)

    monkeypatch.setattr(ConvOperator, "synthesize", counted)
    dictionary.update_lipschitz()
    warm, calls = calls, 0
    dictionary.fit_image_size(image_size)
    assert warm <= 2 < calls


def test_a_cold_start_depends_on_nothing_random() -> None:
    dictionary, image_size = make(LAYOUTS[1])
    first = buffers(dictionary)
    torch.manual_seed(1234)
    dictionary.fit_image_size(image_size)
    for name, tensor in buffers(dictionary).items():
        assert torch.equal(tensor, first[name])


@pytest.mark.parametrize("training", [True, False])
def test_the_operators_change_no_buffer(training: bool) -> None:
    dictionary, _ = make(LAYOUTS[1])
    dictionary.train(training)
    before = buffers(dictionary)
    images = torch.randn(2, 2, 9, 5, dtype=torch.float64)  # another size than the fitted one
    operator = dictionary.operator
    torch.autograd.grad(operator.synthesize(operator.analyse(images), (9, 5)).sum(), dictionary.weight)
    assert before.keys() == {"lipschitz", "eigenvector"}
    for name, tensor in dictionary.named_buffers():
        assert torch.equal(tensor, before[name])


def test_the_state_holds_the_step_size_but_not_the_image_size() -> None:
    small, large = UnitDictionary(1, 2, (3, 3)), UnitDictionary(1, 2, (3, 3))
    small.fit_image_size((4, 4))
    large.fit_image_size((8, 8))
    large.load_state_dict(small.state_dict())
    assert torch.equal(large.lipschitz, small.lipschitz)
    assert large.eigenvector.shape == (1, 1, 8, 8)


def test_on_the_meta_device_a_dictionary_has_shapes_and_costs_nothing() -> None:
    with torch.device("meta"):
        dictionary = UnitDictionary(512, 512, (3, 3))
    assert dictionary.weight.shape == (512, 512, 3, 3)
    assert dictionary.lipschitz.is_meta
