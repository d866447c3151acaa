from __future__ import annotations

import numpy as np
import pytest
import torch

from robustcsc.data import ImageSet, load
from robustcsc.errors import RobustCSCError
from robustcsc.models.catalog import build, default_spec
from robustcsc.report.dictionary_figures import (
    DictionaryStudy,
    atoms_plot,
    classifier_plot,
    sparsity_table,
    study_dictionary,
)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", split="test").subset(torch.arange(0, 500, 10))


@pytest.fixture(scope="module")
def study(digits: ImageSet) -> DictionaryStudy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(default_spec("tddl-cnn", 10, (1, 8, 8), options={"atoms": 20}))
    return study_dictionary(model, digits, name="t", batch_size=7)


def test_a_study_counts_what_the_codes_show(digits: ImageSet, study: DictionaryStudy) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(default_spec("tddl-cnn", 10, (1, 8, 8), options={"atoms": 20}))
    (batch,) = digits.batches(50)
    with torch.no_grad():
        codes = model.get_submodule("network").encode((batch.images - 0.5) / 0.5)  # type: ignore[operator]
    for label in range(10):
        rows = batch.labels == label
        assert study.counts[label] == rows.sum()
        np.testing.assert_array_equal(study.uses[label], (codes[rows] != 0).sum(0).numpy())
        assert study.active[label] == (codes[rows] != 0).sum()
    for atom in (0, 7, 19):
        share = codes[:, atom].abs() / codes[:, atom].abs().sum()
        expected = (share[:, None, None, None] * batch.images).sum(0)
        np.testing.assert_allclose(study.prototypes[atom], expected.numpy(), atol=1e-6)


def test_the_table_has_the_means_of_each_class_and_of_all(study: DictionaryStudy) -> None:
    table = sparsity_table(study)
    assert len(table.rows) == 11
    for label, row in enumerate(table.rows[:10]):
        assert row[1:3] == (f"{study.counts[label]:.0f}", f"{study.active[label] / study.counts[label]:.1f}")
    assert table.rows[10][:3] == ("all", "50", f"{study.active.sum() / 50:.1f}")


def test_each_class_has_a_panel_with_its_weights(study: DictionaryStudy) -> None:
    figure = classifier_plot(study).figure
    assert len(figure.axes) == 10
    for ax, weights in zip(figure.axes, study.weights, strict=True):
        (lines,) = ax.collections
        drawn = np.array([segment[1, 1] for segment in lines.get_segments()])  # type: ignore[attr-defined]
        np.testing.assert_allclose(drawn, weights)


def test_atoms_are_drawn_side_by_side_the_most_used_first(study: DictionaryStudy) -> None:
    (ax,) = atoms_plot(study).figure.axes
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (4 * 9, 5 * 9)  # 20 atoms of 8x8 pixels with a line between them
    most = study.prototypes[np.argsort(-study.uses.sum(0), kind="stable")[0], 0]
    stretched = (most - most.min()) / (most.max() - most.min())
    np.testing.assert_allclose(sheet[:8, :8], stretched, atol=1e-9)


def test_other_models_are_refused(digits: ImageSet) -> None:
    with pytest.raises(RobustCSCError, match="r is no task-driven model"):
        study_dictionary(build(default_spec("resnet-digits", 10, (1, 8, 8))), digits, name="r")
