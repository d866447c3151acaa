import pytest
import torch

from robustcsc.inspection import simulation
from robustcsc.inspection.simulation import BETA, Point, simulate, simulation_plot, simulation_table


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return simulate(epochs=1, seed=3)


def test_the_solved_lasso_with_the_identity_fails_nowhere_and_that_without_does(points: list[Point]) -> None:
    """Optimality in the column e_j says |(D z)_j - X_j| <= beta, for trained and untrained filters alike."""
    assert [point.epoch for point in points] == [0, 1]
    for point in points:
        assert point.msd_lasso == 0
        assert 30 < point.ml_lasso < 100
        assert point.ml_lasso < point.ml_network
        assert point.msd_network < point.ml_network


def test_the_same_seed_gives_the_same_counts_and_leaves_the_random_state_alone(points: list[Point]) -> None:
    state = torch.random.get_rng_state()
    again = simulate(epochs=1, seed=3)
    assert again == points
    assert torch.equal(torch.random.get_rng_state(), state)
    assert simulate(epochs=1, seed=4)[0] != points[0]


@pytest.mark.parametrize("dense", [False, True])
def test_codes_of_the_networks_are_one_step_from_zero(dense: bool) -> None:
    torch.manual_seed(0)
    network = simulation._Network(dense).double()
    signals = torch.rand(4, 100).double()
    atoms = network.filters[0].detach()
    if dense:
        atoms = torch.cat((torch.eye(100).double(), atoms))
    lipschitz = torch.linalg.matrix_norm(atoms, 2) ** 2
    expected = ((signals @ atoms.T - BETA) / lipschitz).clamp_min(0)
    torch.testing.assert_close(network.code(signals, 0).detach(), expected)


@pytest.mark.slow
def test_after_learning_only_the_network_with_the_dense_connection_fails_almost_nowhere() -> None:
    """Figure 4; what remains are coordinates below -2 beta, which codes without negative entries cannot reach."""
    last = simulate(epochs=10, seed=0)[-1]
    assert last.msd_network < 1
    assert last.ml_network > 40
    assert last.msd_accuracy > 0.99


def test_table_and_figure_show_the_counts(points: list[Point]) -> None:
    table = simulation_table(points, 3)
    assert len(table.rows) == 2
    assert table.rows[0][:2] == ("0", f"{points[0].ml_network:.2f}")
    plot = simulation_plot(points, 3)
    assert f"MSD-CSC, lasso: {points[1].msd_lasso:.1f}" in plot.description
    lines = plot.figure.axes[0].get_lines()
    assert [list(line.get_ydata())[1] for line in lines] == [  # type: ignore[arg-type]
        points[1].ml_network, points[1].msd_network, points[1].ml_lasso, points[1].msd_lasso,
    ]  # fmt: skip
    assert plot.to_svg() == simulation_plot(points, 3).to_svg()
