from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustcsc.data import ImageSet, load
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.learned.classifier import (
    class_pictures,
    class_weights,
    classifier_table,
    draw_pictures,
    weights_chart,
)
from robustcsc.inspection.learned.task_driven import (
    AtomUses,
    backprojected,
    draw_backprojected,
    draw_projection,
    draw_uses,
    linear_features,
    study_atoms,
    task_driven,
)
from robustcsc.inspection.specimen import Specimen
from robustcsc.models.catalog import build, default_spec
from robustcsc.presentation.drawn_chart import draw

LABELS = tuple(map(str, range(10)))


def model_of(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(default_spec(name, 10, (1, 8, 8), options={"atoms": 20}))


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", split="test").subset(torch.arange(0, 500, 10))


@pytest.fixture(scope="module")
def specimen(digits: ImageSet) -> Specimen:
    model = model_of("tddl-cnn")
    return Specimen(name="m", model=model, image_shape=(1, 8, 8), images=lambda: digits, batch_size=7)


@pytest.fixture(scope="module")
def uses(specimen: Specimen) -> AtomUses:
    return study_atoms(specimen, task_driven(specimen.model).code)


def test_a_study_counts_what_the_codes_show(digits: ImageSet, uses: AtomUses) -> None:
    (batch,) = digits.batches(50)
    with torch.no_grad():
        codes = task_driven(model_of("tddl-cnn")).encode((batch.images - 0.5) / 0.5)
    assert uses.images == 50
    np.testing.assert_array_equal(uses.uses, (codes != 0).sum(0).numpy())
    for atom in (0, 7, 19):
        share = codes[:, atom].abs() / codes[:, atom].abs().sum()
        expected = (share[:, None, None, None] * batch.images).sum(0)
        np.testing.assert_allclose(uses.prototypes[atom], expected.numpy(), atol=1e-6)


def test_atoms_are_drawn_side_by_side_the_most_used_first(uses: AtomUses) -> None:
    (ax,) = draw_uses(uses, "atoms", "t").figure.axes
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (4 * 9, 5 * 9)  # 20 atoms of 8x8 pixels with a line between them
    most = uses.prototypes[np.argsort(-uses.uses, kind="stable")[0], 0]
    np.testing.assert_allclose(sheet[:8, :8], (most - most.min()) / (most.max() - most.min()), atol=1e-9)


def test_features_are_linear_in_tddl_lin_only() -> None:
    model = model_of("tddl-lin")
    projection = linear_features(model)
    assert projection is not None
    image = torch.rand(1, 1, 8, 8)
    unit = ((image - image.mean()) / (image - image.mean()).norm()).flatten(1)
    torch.testing.assert_close(unit @ projection.T, task_driven(model).features((image - 0.5) / 0.5))
    assert linear_features(model_of("tddl-cnn")) is None
    assert linear_features(nn.Sequential(nn.Linear(4, 2))) is None


def test_the_smallest_image_with_some_features_has_them_and_none_is_smaller() -> None:
    torch.manual_seed(0)
    projection, vectors = torch.randn(5, 12, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    pictures = backprojected(vectors, projection, (1, 3, 4))
    assert pictures.shape == (3, 1, 3, 4)
    flat = torch.from_numpy(pictures).flatten(1)
    torch.testing.assert_close(flat @ projection.T, vectors)
    # what has the least norm is orthogonal to all that Z does not see
    unseen = torch.linalg.svd(projection).Vh[5:]
    torch.testing.assert_close(flat @ unseen.T, torch.zeros(3, 7, dtype=torch.float64), atol=1e-10, rtol=0)


def test_atoms_and_rows_of_a_linear_projection_are_drawn() -> None:
    model = model_of("tddl-lin")
    projection = linear_features(model)
    assert projection is not None
    plot = draw_projection(projection, (1, 8, 8), "m")
    sheet = np.asarray(plot.figure.axes[0].images[0].get_array())
    first = projection[0].double().numpy().reshape(8, 8)
    np.testing.assert_allclose(sheet[:8, :8], (first - first.min()) / (first.max() - first.min()))
    atoms = task_driven(model).code.dictionary.detach().T
    plot = draw_backprojected(atoms, projection, (1, 8, 8), "atoms", "m")
    sheet = np.asarray(plot.figure.axes[0].images[0].get_array())
    first = backprojected(atoms[:1], projection, (1, 8, 8))[0, 0]
    np.testing.assert_allclose(sheet[:8, :8], (first - first.min()) / (first.max() - first.min()))
    assert "20 of 20 atoms" in plot.description


def test_classes_are_described_by_their_weights() -> None:
    weights = torch.zeros(3, 20)
    weights[0, 3], weights[0, 5] = 3.0, -4.0
    weights[1, :] = 1.0
    weights[2, 5], weights[2, 3] = -1.0, 1.0
    first, second, third = class_weights(weights.double(), ("a", "b", "c"))
    assert first.norm == pytest.approx(5)
    assert first.strongest[0] == 3 and first.weights[0] == pytest.approx(3)
    assert first.concentration == pytest.approx(1)
    assert second.concentration == pytest.approx(0.1)  # 2 of 20 equal weights
    assert (first.closest, third.closest) == ("c", "a")
    assert first.cosine == pytest.approx(7 / (5 * 2**0.5))
    assert classifier_table([first, second, third], "m").texts[0][:2] == ("a", "5")


def test_each_class_has_a_panel_with_its_weights() -> None:
    weights = task_driven(model_of("tddl-cnn")).head.weight.detach()
    figure = draw(weights_chart(weights, LABELS, "m")).figure
    assert len(figure.axes) == 10
    for ax, row in zip(figure.axes, weights, strict=True):
        (lines,) = ax.collections
        drawn = np.array([segment[1, 1] for segment in lines.get_segments()])  # type: ignore[attr-defined]
        np.testing.assert_allclose(drawn, row.numpy())


def test_a_class_picture_has_the_features_that_its_weights_make(specimen: Specimen) -> None:
    model = model_of("tddl-lin")
    network, projection = task_driven(model), linear_features(model)
    assert projection is not None
    with torch.no_grad():
        expected = network.head.weight @ network.code.dictionary.T
    pictures = class_pictures(specimen, network, projection)
    assert pictures.shape == (10, 1, 8, 8)
    # Z is 196x64 here: the picture is the least-squares one
    solution = torch.linalg.lstsq(projection.double(), expected.double().T).solution.T
    np.testing.assert_allclose(pictures.reshape(10, -1), solution.numpy(), atol=1e-8)


def test_where_features_are_not_linear_pictures_are_sums_of_average_images(specimen: Specimen, uses: AtomUses) -> None:
    network = task_driven(specimen.model)
    pictures = class_pictures(specimen, network, None)
    weights = network.head.weight.detach().double().numpy()
    expected = sum(weights[4, atom] * uses.prototypes[atom] for atom in range(20))
    np.testing.assert_allclose(pictures[4], expected, atol=1e-9)
    plot = draw_pictures(specimen, network, LABELS)
    assert [tick.get_text() for tick in plot.figure.axes[0].get_xticklabels()] == list(LABELS)


def test_other_models_are_refused() -> None:
    with pytest.raises(RobustCSCError, match="not task-driven"):
        task_driven(build(default_spec("resnet-digits", 10, (1, 8, 8))))
