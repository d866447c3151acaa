"""What the key of a record must hold, so that no count is reused for something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from robustcsc.measurements.threats import ThreatModel
from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.errors import RobustCSCError
from robustcsc.evaluation.adversarial import attack_pgd
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import corruption_condition, evaluate_clean
from robustcsc.measurements.store import ResultStore


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("train", None), ("adaptive", None), ("adaptive-image", None), ("adaptive-batch", 7)],
)
def test_the_batch_size_is_recorded_where_lambda_depends_on_it(
    policy: str,
    expected: int | None,
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
) -> None:
    (record,) = evaluate_clean(subject, images, store, policies=(policy,), batch_size=7)
    assert record.condition.batch_size == expected


def test_an_attack_in_other_batches_is_another_record(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    for size in (5, 9, 5):
        threat = ThreatModel("linf", 0.01)
        list(attack_pgd(subject, images, store, threat=threat, protocols=("plain",), steps=1, batch_size=size))
    assert [record.condition.batch_size for record in store.records()] == [5, 9]


def test_a_model_for_other_classes_is_refused_instead_of_scored(
    plain: Subject, images: ImageSet, store: ResultStore
) -> None:
    features = images.image_shape[0] * images.image_shape[1] * images.image_shape[2]
    wide = replace(plain, model=nn.Sequential(nn.Flatten(), nn.Linear(features, len(images.classes) + 3)))
    with pytest.raises(RobustCSCError, match="one logit per class"):
        evaluate_clean(wide, images, store, policies=("none",))
    assert store.records() == []


def test_other_photographs_of_frost_are_another_table(
    plain: Subject, images: ImageSet, tmp_path: Path, spec: Spec
) -> None:
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        (tmp_path / name).write_bytes(b"a photograph")

    def recorded(frost_root: Path | None) -> str:
        chosen = replace(spec, frost_root=frost_root)
        return corruption_condition(plain, images, chosen, "frost", 1, 0, quantize=False, official=None).spec

    assert recorded(None) == f"cifar10_c@{spec.digest}"
    first = recorded(tmp_path)
    assert first.startswith(f"cifar10_c@{spec.digest}+frost@")
    (tmp_path / "frost3.png").write_bytes(b"another one")
    assert recorded(tmp_path) not in (first, recorded(None))
