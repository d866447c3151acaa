"""Counts of every policy against a naive loop that sets lambda by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import RobustCSCError
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.predictions import predict
from robustcsc.evaluation.sources import Inputs, planned_corruptions
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.policies import FixedLambda, NoLambda, Policy, WorstOf, typed_policy
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore

Measure = Callable[..., list[Record]]
ALL = ("train", "fixed=0.5", "adaptive", "adaptive-batch", "adaptive-image", "oracle")
GRID = [k / 10 for k in range(1, 16)]


@torch.no_grad()
def naive_count(model: nn.Module, images: Tensor, labels: Tensor, lambdas: float | list[float]) -> int:
    """Sets lambda by hand; where it differs between images, one image after the other."""
    model = copy.deepcopy(model).eval()
    if isinstance(lambdas, float):
        set_lambda(model, lambdas)
        return sum(int(logits.argmax()) == label for logits, label in zip(model(images), labels.tolist(), strict=True))
    correct = 0
    for image, label, lam in zip(images, labels.tolist(), lambdas, strict=True):
        set_lambda(model, lam)
        correct += int(model(image[None])[0].argmax()) == label
    return correct


@torch.no_grad()
def naive_residuals(model: nn.Module, images: Tensor) -> list[float]:
    return [residuals(model, image[None]).mean().item() for image in images]


def naive_lambdas(fit: LambdaFit, seen: list[float], size: int) -> list[float]:
    """The line at the mean of every `size` residuals, clamped to the grid; one lambda per image."""
    line = fit.image_line
    lambdas: list[float] = []
    for at in range(0, len(seen), size):
        part = seen[at : at + size]
        mean = sum(part) / len(part)
        lam = line.intercept + line.slope * mean
        lambdas += [min(max(lam, fit.grid[0]), fit.grid[-1])] * len(part)
    return lambdas


def noisy(images: ImageSet, spec: Spec, corruption: str, severity: int, seed: int = 0) -> Batch:
    """Corrupts one image after the other."""
    (batch,) = images.batches(len(images))
    changed = [
        corrupt(image[None], spec, corruption, severity, seed=seed, indices=index[None])
        for image, index in zip(batch.images, batch.indices, strict=True)
    ]
    return batch._replace(images=torch.cat(changed))


def naive_records(model: nn.Module, fit: LambdaFit, batch: Batch, size: int) -> dict[str, tuple[int, float]]:
    """Counts and (mean) lambda of every policy."""
    images, labels = batch.images, batch.labels
    grid = [naive_count(model, images, labels, lam) for lam in GRID]
    best = grid.index(max(grid))
    seen = naive_residuals(model, images)
    per_set, per_batch, per_image = (naive_lambdas(fit, seen, length) for length in (len(images), size, 1))
    expected = {
        "train": (naive_count(model, images, labels, 0.1), 0.1),
        "fixed=0.5": (grid[4], 0.5),
        "oracle": (grid[best], GRID[best]),
    }
    for policy, lambdas in (("adaptive", per_set), ("adaptive-batch", per_batch), ("adaptive-image", per_image)):
        expected[policy] = naive_count(model, images, labels, lambdas), sum(lambdas) / len(lambdas)
    return expected


def test_every_policy_counts_what_a_naive_loop_counts(
    with_fit: Callable[..., LoadedModel], images: ImageSet, spec: Spec, measure: Measure
) -> None:
    model = with_fit(grid=(0.4, 0.77))  # cuts off some lambdas, so that the means differ
    fit, policies = model.fits["gaussian"], model.facts.policies(ALL)
    inputs = Inputs(images=images, spec=spec)
    made = list(planned_corruptions(inputs, ["gaussian_noise"], [5], seed=4, as_published=False))
    clean = measure(model, lambda planner: [planner.clean(policies)], batch_size=25)
    corrupted = measure(model, lambda planner: planner.sweep(made, policies), batch_size=25, spec=spec)
    (batch,) = images.batches(60)
    for records, seen in ((clean, batch), (corrupted, noisy(images, spec, "gaussian_noise", 5, seed=4))):
        expected = naive_records(model.model, fit, seen, 25)
        assert [typed_policy(record.measurement.policy) for record in records] == list(ALL)
        for name, record in zip(ALL, records, strict=True):
            count, lam = expected[name]
            assert (name, record.met, record.total) == (name, count, 60)
            assert record.lam == pytest.approx(lam, abs=1e-5)
            assert record.outcomes is not None and record.outcomes.bits.bit_count() == count
    # The numbers can tell the policies apart.
    assert len({record.lam for record in corrupted[2:5]}) == 3
    assert len({record.met for record in corrupted}) > 1


def test_a_lambda_per_layer_is_counted_as_one_that_is_set_in_each(
    model: LoadedModel, images: ImageSet, measure: Measure
) -> None:
    records = measure(model, lambda planner: [planner.clean([FixedLambda((0.1, 0.9)), FixedLambda(0.9)])])
    network: Any = copy.deepcopy(model.model)
    network.first.lam, network.second.lam = 0.1, 0.9
    (batch,) = images.batches(60)
    with torch.no_grad():
        right = (network(batch.images).argmax(1) == batch.labels).tolist()
    assert records[0].outcomes is not None and records[0].outcomes.to_list() == right
    assert [record.lam for record in records] == [0.5, 0.9] and records[0].met != records[1].met


def test_a_model_without_lambda_is_measured_as_it_is(
    plain: LoadedModel, images: ImageSet, spec: Spec, measure: Measure
) -> None:
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["impulse_noise"], [2]))
    (clean,) = measure(plain, lambda planner: [planner.clean([NoLambda()])])
    (noisier,) = measure(plain, lambda planner: planner.sweep(made, [NoLambda()]), spec=spec)
    (batch,) = images.batches(60)
    for record, seen in ((clean, batch), (noisier, noisy(images, spec, "impulse_noise", 2))):
        with torch.no_grad():
            right = (plain.model(seen.images).argmax(1) == seen.labels).tolist()
        assert (record.met, record.total, record.lam) == (sum(right), 60, None)
        assert record.outcomes is not None and record.outcomes.to_list() == right


@pytest.mark.parametrize("names", [("train", "fixed=0.5", "adaptive", "adaptive-image")])
def test_results_do_not_depend_on_the_batch_size(
    model: LoadedModel, images: ImageSet, spec: Spec, measure: Measure, names: tuple[str, ...]
) -> None:
    policies = model.facts.policies(names)
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["shot_noise", "impulse_noise"], [3]))
    results = []
    for size in (60, 25):
        records = measure(
            model,
            lambda planner: [planner.clean(policies), *planner.sweep(made, policies)],
            batch_size=size,
            spec=spec,
            remeasure=True,
        )
        results.append([(r.measurement.key, r.met, pytest.approx(r.lam, abs=2e-6)) for r in records])
    assert results[0] == results[1]


def test_the_oracle_breaks_ties_towards_the_smaller_lambda(model: LoadedModel, measure: Measure) -> None:
    torch.nn.init.zeros_(model.model.head.weight)  # type: ignore[union-attr,arg-type]
    policies = model.facts.policies(("oracle",))
    (record,) = measure(model, lambda planner: [planner.clean(policies)])
    assert record.lam == pytest.approx(0.1)


def test_the_worst_case_has_to_be_right_at_every_lambda(model: LoadedModel, images: ImageSet) -> None:
    lambdas = (0.1, 0.5, 0.9)
    (batch,) = images.batches(60)
    with torch.no_grad():
        classes = [logits_at(model.model.eval(), batch.images, lam).argmax(1) for lam in lambdas]
    labels = torch.where(torch.arange(60) % 2 == 0, classes[0], classes[2])  # each lambda is wrong somewhere else
    policies: list[Policy] = [*map(FixedLambda, lambdas), WorstOf(lambdas)]
    found = predict(model, policies, lambda: iter([batch._replace(labels=labels)]), 10, rounded=True)
    *single, worst = (found[policy] for policy in policies)
    assert worst.right == torch.stack([it == labels for it in classes]).all(0).tolist()
    assert worst.rounded == [all(outcomes) for outcomes in zip(*(each.rounded for each in single), strict=True)]
    assert 0 < sum(worst.right) < min(sum(each.right) for each in single)
    assert worst.lam is None and [each.lam for each in single] == [pytest.approx(lam) for lam in lambdas]


def test_reading_images_is_not_time_of_the_model(
    model: LoadedModel, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("robustcsc.evaluation.predictions.time.perf_counter", lambda: clock[0])
    model.model.register_forward_pre_hook(lambda module, inputs: clock.__setitem__(0, clock[0] + 1))

    def slow() -> Iterator[Batch]:
        for batch in images.batches(30):
            clock[0] += 100
            yield batch

    train, adaptive = policies = [model.facts.resolved(it, Clean()) for it in model.facts.policies(())]
    found = predict(model, policies, slow, 10)
    assert found[train].seconds == 2  # forward passes
    assert found[adaptive].seconds == 4  # for the residual, and at the lambda of the data set


def test_classes_are_those_that_are_predicted(plain: LoadedModel, images: ImageSet) -> None:
    (batch,) = images.batches(60)
    found = predict(plain, [NoLambda()], lambda: images.batches(25), 10)[NoLambda()]
    with torch.no_grad():
        assert found.classes == plain.model(batch.images).argmax(1).tolist()
    assert found.rounded == []


def test_a_model_for_other_classes_is_refused_instead_of_scored(
    plain: LoadedModel, images: ImageSet, store: ResultStore, measure: Measure
) -> None:
    wide = replace(plain, model=nn.Sequential(nn.Flatten(), nn.Linear(64, len(images.classes) + 3)))
    with pytest.raises(RobustCSCError, match="must return one logit per image and class"):
        measure(wide, lambda planner: [planner.clean([NoLambda()])])
    assert store.records() == []
