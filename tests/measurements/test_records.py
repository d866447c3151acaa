from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import Fact, replace, to_json
from robustcsc.measurements.perturbations import (
    Attack,
    Corruption,
    Perturbation,
    Pixels,
    RandomNoise,
    SavedImages,
    SeverityTable,
    Source,
    Surrogate,
)
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Policy, Scope, TrainingLambda, WorstOf
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import (
    ComparedGradients,
    Flag,
    GradientChecks,
    Images,
    Measurement,
    Metric,
    Outcomes,
    Subject,
)
from robustcsc.measurements.threats import ThreatModel

TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
FOG = Corruption(name="fog", severity=3, table=TABLE)
PGD = Attack(steps=(AttackStep.of("pgd"),), threat=ThreatModel("linf", 8 / 255), protocol=Protocol.ADAPTIVE)
MEASUREMENT = Measurement(
    subject=Subject(run="first", model="sdnet18", weights="ab" * 32),
    images=Images(dataset="cifar10", split="test", fingerprint="0123456789abcdef", count=100),
    perturbation=PGD,
    policy=Adaptive(scope=Scope.IMAGE, fit="0123456789ab"),
    batch_size=250,
)


def key(**changes: object) -> str:
    return replace(MEASUREMENT, **changes).key


def test_a_key_of_float32_is_that_of_a_time_without_other_precisions() -> None:
    assert MEASUREMENT.precision == "fp32"
    assert MEASUREMENT.key == "85c0a898d40826771cb97cc4431905e81a3ac165f0af1d006a4b457084693171"


def test_labels_do_not_make_another_measurement() -> None:
    subject, images = MEASUREMENT.subject, MEASUREMENT.images
    assert key(subject=replace(subject, run="second")) == MEASUREMENT.key
    assert key(images=replace(images, dataset="renamed", split="train")) == MEASUREMENT.key


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": replace(MEASUREMENT.subject, model="resnet18")},
        {"subject": replace(MEASUREMENT.subject, weights="cd" * 32)},
        {"images": replace(MEASUREMENT.images, fingerprint="fedcba9876543210")},
        {"policy": TrainingLambda()},
        {"metric": Metric.FOOLING},
        {"batch_size": 100},
        {"batch_size": None},
        {"precision": "bf16"},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_every_deciding_field_makes_another_measurement(changes: dict[str, object]) -> None:
    assert key(**changes) != MEASUREMENT.key


@pytest.mark.parametrize(
    "other",
    [
        replace(FOG, name="snow"),
        replace(FOG, severity=4),
        replace(FOG, table=replace(TABLE, name="imagenet_c")),
        replace(FOG, table=replace(TABLE, digest="5e6f7a8b")),
        replace(FOG, table=replace(TABLE, photographs="5e6f7a8b")),
        replace(FOG, source=Source.EXPORTED),
        replace(FOG, pixels=Pixels.BYTES),
        replace(FOG, files="fedcba98"),
        replace(FOG, seed=1),
    ],
)
def test_every_field_of_a_corruption_decides(other: Corruption) -> None:
    assert key(perturbation=other) != key(perturbation=FOG)


@pytest.mark.parametrize(
    "other",
    [
        replace(PGD, steps=(AttackStep.of("apgd"),)),
        replace(PGD, steps=(AttackStep.of("pgd", steps=21),)),
        replace(PGD, steps=(AttackStep.of("pgd", restarts=2),)),
        replace(PGD, steps=(AttackStep.of("pgd", step_size=0.03),)),
        replace(PGD, steps=(AttackStep.of("fgsm"), *PGD.steps)),
        replace(PGD, steps=(*PGD.steps, AttackStep.of("fgsm"))),
        replace(PGD, threat=ThreatModel("l2", 8 / 255)),
        replace(PGD, threat=ThreatModel("linf", 0.0314)),
        replace(PGD, threat=ThreatModel("linf", math.nextafter(8 / 255, 1))),
        replace(PGD, protocol=Protocol.PLAIN),
        replace(PGD, seed=1),
        replace(PGD, surrogate=Surrogate(model="sdnet18", weights="ab")),
        replace(PGD, saved=SavedImages(crafted_on=Surrogate(model="sdnet18", weights="ab"), digest="ef")),
    ],
)
def test_every_field_of_an_attack_decides(other: Attack) -> None:
    assert key(perturbation=other) != MEASUREMENT.key


def test_numbers_enter_at_full_precision() -> None:
    sizes = (8 / 255, 0.0314, 1 / 31, 0.03225806451612904, 0.032258)
    assert len({key(perturbation=replace(PGD, threat=ThreatModel("linf", size))) for size in sizes}) == len(sizes)
    lambdas = (0.3, 0.1 + 0.2, 1 / 31, 0.0322581)
    assert len({key(policy=FixedLambda(value)) for value in lambdas}) == len(lambdas)
    assert key(policy=WorstOf((0.1, 1 / 31))) != key(policy=WorstOf((0.1, 0.0322581)))
    rhos = (0.1, math.nextafter(0.1, 1))
    assert len({key(perturbation=RandomNoise(rho=rho)) for rho in rhos}) == 2


def _fields(fact: Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in fact.__struct_fields__}


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_two_measurements_have_one_key_if_and_only_if_they_differ_in_labels_alone(
    data: st.DataObject,
    measurements: st.SearchStrategy[Measurement],
    kinds: dict[str, st.SearchStrategy[Perturbation]],
    policies: st.SearchStrategy[Policy],
) -> None:
    first, second = data.draw(measurements), data.draw(measurements)
    # One difference at a time, so that nothing else tells the two apart.
    field = data.draw(st.sampled_from(["perturbation", "policy", "metric", "batch_size", "subject", "images"]))
    other = replace(first, **{field: getattr(second, field)})
    if (
        field == "perturbation"
        and type(first.perturbation) is type(second.perturbation)
        and _fields(first.perturbation)
    ):
        inner = data.draw(st.sampled_from(list(_fields(first.perturbation))))
        changed = replace(first.perturbation, **{inner: getattr(second.perturbation, inner)})
        other = replace(first, perturbation=changed)

    def decisive(it: Measurement) -> tuple[object, ...]:
        named = (it.subject.model, it.subject.weights, it.images.fingerprint)
        return (*named, it.perturbation, it.policy, it.metric, it.batch_size)

    assert (first.key == other.key) == (decisive(first) == decisive(other))


def test_a_changed_measurement_has_a_new_key_after_the_first_was_asked_for() -> None:
    assert MEASUREMENT.key == MEASUREMENT.key
    changed = replace(MEASUREMENT, policy=Oracle())
    assert changed.key != MEASUREMENT.key
    assert changed == replace(MEASUREMENT, policy=Oracle())  # the known key takes no part


def test_keys_are_the_same_in_every_process() -> None:
    script = (
        "from robustcsc.measurements.facts import from_json\n"
        "from robustcsc.measurements.records import Measurement\n"
        "import sys\n"
        "print(from_json(sys.argv[1], Measurement).key)"
    )
    content = to_json(MEASUREMENT).decode()
    printed = subprocess.run([sys.executable, "-c", script, content], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == MEASUREMENT.key


def test_keys_are_those_of_the_first_release() -> None:
    # Written down once: what is measured with one version is not measured again with the next.
    subject = f'"sdnet18","{"ab" * 32}","0123456789abcdef"'
    pgd = (
        '{"protocol":"adaptive","steps":[{"name":"pgd","settings":[["loss","ce"],["steps",20]]}],'
        '"threat":{"epsilon":0.03137254901960784,"norm":"linf"},"type":"attack"}'
    )
    adaptive = '{"fit":"0123456789ab","scope":"image","type":"adaptive"}'
    fog = '{"name":"fog","severity":3,"table":{"digest":"1a2b3c4d","name":"cifar10_c"},"type":"corruption"}'
    contents = {
        f'[{subject},{pgd},{adaptive},"accuracy",250]': MEASUREMENT,
        f'[{subject},{fog},{{"type":"train"}},"accuracy",null]': replace(
            MEASUREMENT, perturbation=FOG, policy=TrainingLambda(), batch_size=None
        ),
    }
    for content, measurement in contents.items():
        assert measurement.key == hashlib.sha256(content.encode()).hexdigest()


def test_outcomes_are_packed_from_the_highest_bit_on() -> None:
    outcomes = Outcomes.of([True, False, False, False, False, False, False, True, True])
    assert outcomes.packed == bytes([0b10000001, 0b10000000])
    assert (outcomes.bits, outcomes.count) == (0b100000011, 9)
    assert Outcomes.of([]).to_list() == []


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10_000])
def test_outcomes_come_back(count: int) -> None:
    met = [place % 3 == 0 or place % 7 == 1 for place in range(count)]
    outcomes = Outcomes.of(met)
    assert outcomes.to_list() == met
    assert outcomes.bits.bit_count() == sum(met)


def test_outcomes_of_the_same_images_are_compared_image_by_image() -> None:
    first, second = Outcomes.of([True, True, False, True]).bits, Outcomes.of([True, False, False, False]).bits
    assert ((first & ~second).bit_count(), (second & ~first).bit_count()) == (2, 0)


SOUND = GradientChecks(
    images=20,
    zero_gradients=0.0,
    deterministic=True,
    one_step=1.0,
    all_steps=2.0,
    broken_in_one_step=5,
    right_at_large_budget=0,
)


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, ()),
        ({"zero_gradients": 0.1}, ()),
        ({"zero_gradients": 0.11}, (Flag.ZERO_GRADIENTS,)),
        ({"deterministic": False}, (Flag.NOT_DETERMINISTIC,)),
        ({"all_steps": 1.0}, (Flag.LOSS_DOES_NOT_RISE,)),
        ({"all_steps": float("nan")}, (Flag.LOSS_DOES_NOT_RISE,)),
        ({"all_steps": 1.0, "broken_in_one_step": 20}, ()),  # nothing is left to raise
        ({"right_at_large_budget": 1}, (Flag.NOT_ZERO_AT_A_LARGE_BUDGET,)),
        ({"compared": ComparedGradients(cosine=0.91, implicit=1.0, unrolled=2.0)}, ()),
        ({"compared": ComparedGradients(cosine=0.9, implicit=1.0, unrolled=1.0)}, (Flag.GRADIENTS_DIFFER,)),
        ({"compared": ComparedGradients(cosine=float("nan"), implicit=1.0, unrolled=1.0)}, (Flag.GRADIENTS_DIFFER,)),
    ],
)
def test_flags_say_what_speaks_against_gradients(changes: dict[str, object], flags: tuple[Flag, ...]) -> None:
    assert replace(SOUND, **changes).flags == flags


def test_measurements_do_not_import_torch() -> None:
    script = (
        "import pkgutil, importlib, sys, robustcsc.measurements as package\n"
        "for module in pkgutil.iter_modules(package.__path__, 'robustcsc.measurements.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
