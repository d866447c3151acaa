"""What is measured in bfloat16, and in float32 whatever PyTorch is set to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from robustcsc.attacks.catalog import craft
from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.precision import Bfloat16
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, Corruption, RandomNoise
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import ThreatModel

Measure = Callable[..., list[Record]]
PGD = Attack(steps=(AttackStep.of("pgd", steps=3),), threat=ThreatModel("linf", 0.1), protocol=Protocol.PLAIN)


@pytest.fixture
def reduced(model: LoadedModel) -> LoadedModel:
    return replace(model, model=Bfloat16(model.model), precision="bf16")


@pytest.fixture
def rounding() -> Iterator[None]:
    """Lets oneDNN round float32 to bfloat16, as far as the processor can."""
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def test_counts_in_bfloat16_are_those_of_autocast(reduced: LoadedModel, images: ImageSet, measure: Measure) -> None:
    (record,) = measure(reduced, lambda planner: [planner.clean([TrainingLambda()])])
    (batch,) = images.batches(60)
    network = reduced.model.model
    assert isinstance(network, torch.nn.Module)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        right = network(batch.images).argmax(1) == batch.labels
    assert record.outcomes is not None and record.outcomes.to_list() == right.tolist()
    assert record.measurement.precision == "bf16"


def test_attacks_take_their_gradients_through_bfloat16(
    reduced: LoadedModel, images: ImageSet, measure: Measure
) -> None:
    policies = [TrainingLambda()]
    (record,) = measure(reduced, lambda planner: [(planner.cell(PGD, policies, batched=True),)])
    (batch,) = images.batches(60)
    step, network = PGD.steps[0], reduced.model
    seed = int(batch.indices[0])
    found = craft(step, network, batch.images, batch.labels, PGD.threat, seed=seed)
    with torch.no_grad():
        right = (network(found).argmax(1) == batch.labels) & (network(batch.images).argmax(1) == batch.labels)
    assert record.outcomes is not None and record.outcomes.to_list() == right.tolist()


def test_each_kind_of_measurement_says_its_precision(reduced: LoadedModel, spec: Spec, measure: Measure) -> None:
    policies = [TrainingLambda()]
    made: list[Any] = [Corruption(name="gaussian_noise", severity=1, table=spec.table), RandomNoise(rho=0.1)]
    found = measure(reduced, lambda planner: [(planner.cell(it, policies),) for it in made], spec=spec)
    assert {it.measurement.precision for it in found} == {"bf16"}


@pytest.mark.usefixtures("rounding")
def test_float32_is_measured_as_such_whatever_pytorch_is_set_to(model: LoadedModel, measure: Measure) -> None:
    seen = set()

    def look(*_: object) -> None:
        seen.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic))

    model.model.register_forward_pre_hook(look)
    measure(model, lambda planner: [(planner.cell(PGD, [TrainingLambda()], batched=True),)])
    assert seen == {("highest", True)}
    assert torch.get_float32_matmul_precision() == "medium"
