from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors
import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda, dataset_lambda
from robustcsc.attacks.random_noise import CONTROLS, relative_noise
from robustcsc.attacks.universal import UniversalPerturbation, universal_perturbation
from robustcsc.data import ImageSet, load
from robustcsc.errors import AttackError, PolicyError
from robustcsc.evaluation.fooling.plans import check_noise, check_split, check_uap, noise_plan, uap_plan
from robustcsc.evaluation.fooling.universal import load_perturbation
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements import facts
from robustcsc.measurements.perturbations import Crafting, Perturbation, RandomControl, RandomNoise, Universal
from robustcsc.measurements.policies import Adaptive, NoLambda, Oracle, Policy, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import CraftingDetails, Metric, Record, Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel

Measure = Callable[..., list[Record]]
LINF = ThreatModel("linf", 0.25)


@pytest.fixture(scope="session")
def crafting_images() -> ImageSet:
    return load("digits", split="train").subset(torch.arange(40) * 30)


@pytest.fixture(scope="session")
def crafting(crafting_images: ImageSet) -> Crafting:
    fingerprint = crafting_images.fingerprint
    return Crafting(images=fingerprint, count=40, delta=0.2, passes=2, batch_size=20)


@pytest.fixture
def victims(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The model of every call that crafts a perturbation."""
    seen: list[nn.Module] = []

    def spy(model: nn.Module, *positional: Any, **named: Any) -> UniversalPerturbation:
        seen.append(model)
        return universal_perturbation(model, *positional, **named)

    monkeypatch.setattr("robustcsc.evaluation.fooling.universal.universal_perturbation", spy)
    return seen


@pytest.fixture
def attacked(
    model: LoadedModel, measure: Measure, crafting: Crafting, crafting_images: ImageSet, tmp_path: Path
) -> Callable[..., list[Record]]:
    """Attacks with small settings."""

    def run(
        victim: LoadedModel = model,
        crafting: Crafting = crafting,
        threats: tuple[ThreatModel, ...] = (LINF,),
        protocols: tuple[Protocol, ...] = (Protocol.PLAIN,),
        seeds: tuple[int, ...] = (0, 1),
        **settings: Any,
    ) -> list[Record]:
        return measure(
            victim,
            lambda planner: uap_plan(planner, crafting, threats, protocols, seeds),
            crafting_images=crafting_images,
            perturbations=tmp_path / "perturbations",
            **settings,
        )

    return run


class Counts(NamedTuple):
    """Changed predictions out of how many: among all images, and among those that are right when clean."""

    every: tuple[int, int]
    correct: tuple[int, int]


@torch.inference_mode()
def counts(model: nn.Module, clean: Tensor, changed: Tensor, labels: Tensor) -> Counts:
    before, after = (model.eval()(images).argmax(1) for images in (clean, changed))
    right = before == labels
    return Counts((int((before != after).sum()), len(labels)), (int((before != after)[right].sum()), int(right.sum())))


def found_in(records: list[Record], made: Perturbation) -> Counts:
    by_metric = {it.measurement.metric: (it.met, it.total) for it in records if it.measurement.perturbation == made}
    return Counts(by_metric[Metric.FOOLING], by_metric[Metric.FOOLING_OF_CORRECT])


def details(record: Record) -> CraftingDetails:
    assert isinstance(record.details, CraftingDetails)
    return record.details


def load_kept(path: Path) -> UniversalPerturbation:
    with safetensors.safe_open(path, "pt") as opened:
        key = opened.metadata()["key"]
    found = load_perturbation(path, key)
    assert found is not None
    return found


def test_records_count_what_the_kept_perturbation_and_its_controls_change(
    model: LoadedModel,
    images: ImageSet,
    crafting: Crafting,
    attacked: Callable[..., list[Record]],
    tmp_path: Path,
) -> None:
    records = attacked()
    (batch,) = images.batches(60)
    network = ModelAtLambda(model.model, 0.1)
    assert len(records) == 2 * (1 + 2 * 2)
    (path,) = (tmp_path / "perturbations").glob("*.safetensors")
    kept = load_kept(path)
    assert kept.values.abs().max() <= 0.25
    moved = (batch.images + kept.values).clamp(0, 1)
    found = found_in(records, Universal(threat=LINF, protocol=Protocol.PLAIN, crafting=crafting))
    assert found == counts(network, batch.images, moved, batch.labels)
    assert 0 < found.correct[1] < found.every[1] == 60
    for name, control in CONTROLS.items():
        for seed in (0, 1):
            moved = (batch.images + control((1, 8, 8), LINF, seed)).clamp(0, 1)
            made = RandomControl(name=name, threat=LINF, protocol=Protocol.PLAIN, seed=seed)
            assert found_in(records, made) == counts(network, batch.images, moved, batch.labels)


def test_records_tell_how_the_perturbation_was_made(
    attacked: Callable[..., list[Record]], crafting: Crafting, tmp_path: Path
) -> None:
    records = attacked()
    made = records[0]
    perturbation = Universal(threat=LINF, protocol=Protocol.PLAIN, crafting=crafting)
    assert (made.measurement.perturbation, made.measurement.policy) == (perturbation, TrainingLambda())
    told = details(made)
    kept = load_kept(tmp_path / "perturbations" / told.file)
    assert kept.images == 40
    assert (told.fooled, told.passes, told.converged) == (kept.fooled, kept.passes, kept.converged)
    assert made.provenance.seconds > kept.seconds > 0
    assert records[1].details == made.details
    assert all(record.details is None and record.lam == 0.1 for record in records[2:])
    assert (tmp_path / "perturbations" / told.file).with_suffix(".png").is_file()


def test_nothing_is_crafted_or_measured_twice_unless_asked(
    attacked: Callable[..., list[Record]], victims: list[nn.Module], crafting: Crafting
) -> None:
    first = attacked()
    assert attacked() == first and len(victims) == 1
    attacked(seeds=(0, 1, 2), threats=(LINF, ThreatModel("linf", 0.1)))
    assert len(victims) == 2
    again = attacked(remeasure=True)
    assert len(victims) == 3
    assert [(it.met, it.total) for it in again] == [(it.met, it.total) for it in first]
    attacked(crafting=facts.replace(crafting, passes=1))
    assert len(victims) == 4


def test_a_kept_perturbation_is_scored_on_other_images_without_crafting(
    attacked: Callable[..., list[Record]], victims: list[nn.Module]
) -> None:
    attacked()
    others = load("digits", split="test").subset(torch.arange(30) * 8 + 1)
    records = attacked(images=others, seeds=())
    assert records[0].total == 30
    assert len(victims) == 1


def test_a_stopped_count_is_resumed_with_both_metrics(
    attacked: Callable[..., list[Record]], monkeypatch: pytest.MonkeyPatch, store: ResultStore
) -> None:
    whole = ResultStore.add

    def stopped(self: ResultStore, record: Record, **settings: Any) -> bool:
        if record.measurement.metric is Metric.FOOLING_OF_CORRECT:
            raise KeyboardInterrupt
        return whole(self, record, **settings)

    monkeypatch.setattr(ResultStore, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
        attacked(seeds=())
    monkeypatch.setattr(ResultStore, "add", whole)
    assert store.records() == []
    records = attacked(seeds=())
    assert [record.measurement.metric for record in records] == [Metric.FOOLING, Metric.FOOLING_OF_CORRECT]
    assert len(store.records()) == 2


def test_protocols_craft_and_score_as_they_say(
    model: LoadedModel,
    images: ImageSet,
    attacked: Callable[..., list[Record]],
    victims: list[nn.Module],
    tmp_path: Path,
) -> None:
    protocols = (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
    records = attacked(protocols=protocols, seeds=(), batch_size=60)
    plain, static, adaptive = records[::2]
    fit = model.fits["gaussian"]
    assert [it.measurement.policy for it in (plain, static, adaptive)] == [
        TrainingLambda(),
        Adaptive(scope=Scope.DATASET, fit=fit.digest),
        Adaptive(scope=Scope.IMAGE, fit=fit.digest),
    ]
    # The static protocol scores what was crafted at the training lambda.
    assert [type(victim) for victim in victims] == [ModelAtLambda, AdaptiveModel]
    assert details(static) == details(plain) != details(adaptive)
    (batch,) = images.batches(60)
    kept = load_kept(tmp_path / "perturbations" / details(adaptive).file)
    moved = (batch.images + kept.values).clamp(0, 1)
    expected = counts(AdaptiveModel(model.model, fit, Scope.IMAGE), batch.images, moved, batch.labels)
    assert (adaptive.met, adaptive.total) == expected.every
    kept = load_kept(tmp_path / "perturbations" / details(static).file)
    moved = (batch.images + kept.values).clamp(0, 1)
    tuned = [
        ModelAtLambda(model.model, dataset_lambda(model.model, fit, [shown])).eval() for shown in (batch.images, moved)
    ]
    with torch.inference_mode():
        changed = (tuned[0](batch.images).argmax(1) != tuned[1](moved).argmax(1)).sum()
    assert static.met == changed
    assert static.lam == pytest.approx(tuned[1].lam, abs=1e-5)


def test_another_fit_is_another_perturbation(
    with_fit: Callable[..., LoadedModel],
    attacked: Callable[..., list[Record]],
    victims: list[nn.Module],
    crafting: Crafting,
) -> None:
    files, once = set(), facts.replace(crafting, passes=1)
    for seed in (0, 1):
        records = attacked(with_fit(seed=seed), once, protocols=(Protocol.PLAIN, Protocol.ADAPTIVE), seeds=())
        files |= {details(record).file for record in records}
    assert len(victims) == len(files) == 3  # the plain one does not depend on the fit


def test_a_model_without_lambda_is_attacked(plain: LoadedModel, attacked: Callable[..., list[Record]]) -> None:
    records = attacked(plain)
    assert {it.measurement.policy for it in records} == {NoLambda()}
    assert all(it.lam is None for it in records)


def test_settings_that_make_no_sense_are_refused(
    crafting: Crafting, crafting_images: ImageSet, images: ImageSet
) -> None:
    check_uap([LINF], crafting)
    check_uap([LINF], None)
    check_split(crafting_images)
    with pytest.raises(AttackError, match="crafted on training images, not on the test split"):
        check_split(images)
    with pytest.raises(AttackError, match="delta"):
        check_uap([LINF], facts.replace(crafting, delta=1.5))
    for made in (crafting, None):
        with pytest.raises(AttackError, match="xi"):
            check_uap([ThreatModel("linf", 0.0)], made)


# --- random noise ---


@pytest.fixture
def noise(measure: Measure, model: LoadedModel) -> Callable[..., list[Record]]:
    """Measures Gaussian noise."""

    def run(
        victim: LoadedModel = model,
        rhos: tuple[float, ...] = (0.05, 0.4),
        policies: tuple[Policy, ...] = (TrainingLambda(),),
        seeds: tuple[int, ...] = (0, 1),
        **settings: Any,
    ) -> list[Record]:
        return measure(victim, lambda planner: noise_plan(planner, rhos, policies, seeds), **settings)

    return run


def test_noise_of_each_energy_and_seed_is_counted(
    model: LoadedModel, images: ImageSet, noise: Callable[..., list[Record]]
) -> None:
    records = noise(batch_size=25)
    (batch,) = images.batches(60)
    network = ModelAtLambda(model.model, 0.1)
    assert len(records) == 2 * 2 * 2
    for rho in (0.05, 0.4):
        for seed in (0, 1):
            added = relative_noise(batch.images, rho, seed=seed, indices=batch.indices)
            expected = counts(network, batch.images, (batch.images + added).clamp(0, 1), batch.labels)
            assert found_in(records, RandomNoise(rho=rho, seed=seed)) == expected


def test_noise_does_not_depend_on_the_batch_size(model: LoadedModel, noise: Callable[..., list[Record]]) -> None:
    policies = model.facts.policies(("train", "adaptive", "fixed=0.5"))
    first = noise(batch_size=60, policies=policies)
    second = noise(batch_size=25, policies=policies, remeasure=True)
    assert [(it.measurement, it.met) for it in first] == [(it.measurement, it.met) for it in second]
    assert len({it.measurement.key for it in first}) == len(first) == 3 * 2 * 2 * 2


def test_noise_without_energy_fools_nothing(model: LoadedModel, noise: Callable[..., list[Record]]) -> None:
    records = noise(rhos=(0.0,), policies=model.facts.policies(("train", "adaptive-image")))
    assert [it.met for it in records] == [0] * 8


def test_noise_that_makes_no_sense_is_refused() -> None:
    check_noise((0.0, 0.1), (TrainingLambda(),))
    with pytest.raises(AttackError, match="rho must be"):
        check_noise((0.1, -0.1), ())
    with pytest.raises(PolicyError, match="The oracle"):
        check_noise((0.1,), (TrainingLambda(), Oracle()))


def test_where_no_image_is_correct_only_all_images_are_counted(
    plain: LoadedModel, images: ImageSet, noise: Callable[..., list[Record]]
) -> None:
    class Wrong(nn.Module):
        """Always a class that no image has; noise makes no difference."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(10)[torch.full((len(images),), 9)]

    (batch,) = images.batches(60)
    others = images.subset((batch.labels != 9).nonzero().flatten())
    wrong = replace(plain, subject=Subject(run="w", model="wrong", weights="22" * 32), model=Wrong())
    for _ in range(2):  # the second time from the store
        records = noise(wrong, images=others, policies=(NoLambda(),), seeds=(0,))
        assert [(it.measurement.metric, it.met, it.total) for it in records] == [(Metric.FOOLING, 0, len(others))] * 2
