from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda, dataset_lambda
from robustcsc.attacks.random_noise import CONTROLS, relative_noise
from robustcsc.measurements.threats import ThreatModel
from robustcsc.attacks.universal import UniversalPerturbation, universal_perturbation
from robustcsc.data import ImageSet, load
from robustcsc.errors import AttackError, PolicyError, UnknownNameError
from robustcsc.evaluation import fooling
from robustcsc.evaluation.fooling import Crafting, attack_random_noise, attack_uap
from robustcsc.evaluation.perturbations import load_perturbation
from robustcsc.evaluation.subject import Subject
from robustcsc.records import Record
from robustcsc.measurements.store import ResultStore

LINF = ThreatModel("linf", 0.25)
ALL, OF_CORRECT = "fooling rate", "fooling rate of correct images"


@pytest.fixture(scope="session")
def crafting() -> Crafting:
    return Crafting(images=load("digits", split="train").subset(torch.arange(40) * 30), passes=2, batch_size=20)


@pytest.fixture
def crafted(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The model of every call that crafts a perturbation."""
    seen: list[nn.Module] = []

    def spy(model: nn.Module, *positional: Any, **named: Any) -> UniversalPerturbation:
        seen.append(model)
        return universal_perturbation(model, *positional, **named)

    monkeypatch.setattr(fooling, "universal_perturbation", spy)
    return seen


@pytest.fixture
def attacked(subject: Subject, images: ImageSet, store: ResultStore, crafting: Crafting, tmp_path: Path) -> Any:
    """Attacks with small settings."""

    def run(victim: Subject = subject, **settings: Any) -> list[Record]:
        chosen: dict[str, Any] = {
            "threats": (LINF,),
            "crafting": crafting,
            "folder": tmp_path / "perturbations",
            "control_seeds": (0, 1),
        }
        return list(attack_uap(victim, images, store, **(chosen | settings)))

    return run


@torch.inference_mode()
def counts(model: nn.Module, clean: Tensor, changed: Tensor, labels: Tensor) -> dict[str, tuple[int, int]]:
    before, after = (model.eval()(images).argmax(1) for images in (clean, changed))
    right = before == labels
    return {
        ALL: (int((before != after).sum()), len(labels)),
        OF_CORRECT: (int((before != after)[right].sum()), int(right.sum())),
    }


def by_metric(records: list[Record], kind: str, name: str, seed: int) -> dict[str, tuple[int, int]]:
    return {
        it.condition.metric: (it.correct, it.total)
        for it in records
        if (it.condition.kind, it.condition.name, it.condition.seed) == (kind, name, seed)
    }


def test_records_count_what_the_kept_perturbation_and_its_controls_change(
    subject: Subject, images: ImageSet, attacked: Any, tmp_path: Path
) -> None:
    records = attacked()
    (batch,) = images.batches(60)
    assert subject.lam0 is not None
    model = ModelAtLambda(subject.model, subject.lam0)
    assert len(records) == 2 * (1 + 2 * 2)
    (path,) = (tmp_path / "perturbations").glob("*.safetensors")
    kept = load_kept(path)
    assert kept.values.abs().max() <= 0.25
    moved = (batch.images + kept.values).clamp(0, 1)
    found = by_metric(records, "uap", "uap", 0)
    assert found == counts(model, batch.images, moved, batch.labels)
    assert 0 < found[OF_CORRECT][1] < found[ALL][1] == 60
    for name, control in CONTROLS.items():
        for seed in (0, 1):
            moved = (batch.images + control((1, 8, 8), LINF, seed)).clamp(0, 1)
            assert by_metric(records, "uap-control", name, seed) == counts(model, batch.images, moved, batch.labels)


def load_kept(path: Path) -> UniversalPerturbation:
    import safetensors

    with safetensors.safe_open(path, "pt") as opened:
        key = opened.metadata()["key"]
    found = load_perturbation(path, key)
    assert found is not None
    return found


def test_records_tell_how_the_perturbation_was_made(attacked: Any, crafting: Crafting, tmp_path: Path) -> None:
    records = attacked()
    made = records[0]
    assert (made.condition.kind, made.condition.norm, made.condition.epsilon) == ("uap", "linf", 0.25)
    assert (made.condition.steps, made.condition.policy, made.condition.protocol) == (2, "train", "plain")
    fingerprint = crafting.images.fingerprint
    assert made.condition.spec == f"crafted on 40 train images ({fingerprint}), delta 0.2, batches of 20"
    told = json.loads(made.details)
    kept = load_kept(tmp_path / "perturbations" / told["perturbation"])
    assert told["crafting_images"] == kept.images == 40
    assert (told["crafting_fooled"], told["passes"], told["converged"]) == (kept.fooled, kept.passes, kept.converged)
    assert made.seconds > kept.seconds > 0
    assert records[1].details == made.details
    assert all(record.details == "" and record.lam == 0.1 for record in records[2:])
    assert (tmp_path / "perturbations" / told["perturbation"]).with_suffix(".png").is_file()


def test_nothing_is_crafted_or_measured_twice_unless_asked(
    attacked: Any, crafted: list[nn.Module], crafting: Crafting
) -> None:
    first = attacked()
    assert attacked() == first and len(crafted) == 1
    attacked(control_seeds=(0, 1, 2), threats=(LINF, ThreatModel("linf", 0.1)))
    assert len(crafted) == 2
    again = attacked(remeasure=True)
    assert len(crafted) == 3
    assert [(it.correct, it.total) for it in again] == [(it.correct, it.total) for it in first]
    attacked(crafting=Crafting(images=crafting.images, passes=1, batch_size=20))
    assert len(crafted) == 4


def test_a_kept_perturbation_is_scored_on_other_images_without_crafting(
    subject: Subject, attacked: Any, crafted: list[nn.Module], crafting: Crafting, store: ResultStore, tmp_path: Path
) -> None:
    attacked()
    others = load("digits", split="test").subset(torch.arange(30) * 8 + 1)
    records = list(
        attack_uap(
            subject,
            others,
            store,
            threats=(LINF,),
            crafting=crafting,
            folder=tmp_path / "perturbations",
            control_seeds=(),
        )
    )
    assert records[0].total == 30
    assert len(crafted) == 1


def test_protocols_craft_and_score_as_they_say(
    subject: Subject, images: ImageSet, attacked: Any, crafted: list[nn.Module], tmp_path: Path
) -> None:
    records = attacked(protocols=("plain", "static", "adaptive"), control_seeds=(), batch_size=60)
    plain, static, adaptive = records[::2]
    assert [it.condition.policy for it in (plain, static, adaptive)] == ["train", "adaptive", "adaptive-image"]
    # The static protocol scores what was crafted at the training lambda.
    assert [type(model) for model in crafted] == [ModelAtLambda, AdaptiveModel]
    assert json.loads(static.details) == json.loads(plain.details) != json.loads(adaptive.details)
    fit = subject.fit_for(None)
    (batch,) = images.batches(60)
    kept = load_kept(tmp_path / "perturbations" / json.loads(adaptive.details)["perturbation"])
    moved = (batch.images + kept.values).clamp(0, 1)
    expected = counts(AdaptiveModel(subject.model, fit, "image"), batch.images, moved, batch.labels)
    assert (adaptive.correct, adaptive.total) == expected[ALL]
    kept = load_kept(tmp_path / "perturbations" / json.loads(static.details)["perturbation"])
    moved = (batch.images + kept.values).clamp(0, 1)
    tuned = [
        ModelAtLambda(subject.model, dataset_lambda(subject.model, fit, [shown])).eval()
        for shown in (batch.images, moved)
    ]
    with torch.inference_mode():
        changed = (tuned[0](batch.images).argmax(1) != tuned[1](moved).argmax(1)).sum()
    assert static.correct == changed
    assert static.lam == pytest.approx(tuned[1].lam, abs=1e-5)


def test_a_model_without_lambda_is_attacked(plain: Subject, attacked: Any) -> None:
    records = attacked(plain)
    assert {it.condition.policy for it in records} == {"none"}
    assert all(it.lam is None for it in records)
    with pytest.raises(PolicyError, match="no CSC layer"):
        attacked(plain, protocols=("adaptive",))
    with pytest.raises(UnknownNameError, match="attack protocol 'plane'"):
        attacked(plain, protocols=("plane",))


def test_crafting_on_test_images_is_refused(attacked: Any, images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(AttackError, match="crafted on training images, not on the test split"):
        attacked(crafting=Crafting(images=images))
    with pytest.raises(AttackError, match="delta"):
        attacked(crafting=Crafting(images=load("digits", split="train"), delta=1.5))
    assert not (tmp_path / "perturbations").exists()


# --- random noise ---


def noise(subject: Subject, images: ImageSet, store: ResultStore, **settings: Any) -> list[Record]:
    chosen: dict[str, Any] = {"rhos": (0.05, 0.4), "policies": ("train",), "seeds": (0, 1)}
    return list(attack_random_noise(subject, images, store, **(chosen | settings)))


def test_noise_of_each_energy_and_seed_is_counted(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    records = noise(subject, images, store, batch_size=25)
    (batch,) = images.batches(60)
    assert subject.lam0 is not None
    model = ModelAtLambda(subject.model, subject.lam0)
    measured = {
        (it.condition.epsilon, it.condition.seed, it.condition.metric): (it.correct, it.total) for it in records
    }
    for rho in (0.05, 0.4):
        for seed in (0, 1):
            added = relative_noise(batch.images, rho, seed=seed, indices=batch.indices)
            expected = counts(model, batch.images, (batch.images + added).clamp(0, 1), batch.labels)
            assert {metric: measured.pop((rho, seed, metric)) for metric in expected} == expected
    assert measured == {}
    assert {(it.condition.kind, it.condition.name, it.condition.norm) for it in records} == {
        ("random-noise", "gaussian", None)
    }


def test_noise_does_not_depend_on_the_batch_size(
    subject: Subject, images: ImageSet, store: ResultStore, tmp_path: Path
) -> None:
    first = noise(subject, images, store, batch_size=60, policies=("train", "adaptive", "fixed=0.5"))
    with ResultStore(tmp_path / "other.sqlite") as other:
        second = noise(subject, images, other, batch_size=7, policies=("train", "adaptive", "fixed=0.5"))
    assert [(it.condition.key, it.correct) for it in first] == [(it.condition.key, it.correct) for it in second]
    assert len({it.condition.key for it in first}) == len(first) == 3 * 2 * 2 * 2


def test_noise_without_energy_fools_nothing(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    assert [it.correct for it in noise(subject, images, store, rhos=(0.0,), policies=("train", "adaptive-image"))] == [
        0
    ] * 8


def test_noise_that_makes_no_sense_is_refused(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    with pytest.raises(AttackError, match="rho must be"):
        noise(subject, images, store, rhos=(0.1, -0.1))
    with pytest.raises(PolicyError, match="The oracle"):
        noise(subject, images, store, policies=("oracle",))
    assert store.records() == []


def test_where_no_image_is_correct_only_all_images_are_counted(images: ImageSet, store: ResultStore) -> None:
    class Wrong(nn.Module):
        """Always a class that no image has; noise makes no difference."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(10)[torch.full((len(images),), 9)]

    (batch,) = images.batches(60)
    others = images.subset((batch.labels != 9).nonzero().flatten())
    wrong = Subject(run="w", model_name="wrong", weights="22" * 32, model=Wrong(), device=torch.device("cpu"))
    records = noise(wrong, others, store, policies=("none",), seeds=(0,))
    assert [(it.condition.metric, it.correct, it.total) for it in records] == [(ALL, 0, len(others))] * 2
