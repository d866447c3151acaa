"""Any record of every kind, for properties that hold for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Denoise, Order, Shift, Tent
from robustcsc.measurements.attacks import ATTACKS, AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    Crafting,
    MinimalBudget,
    Perturbation,
    Pixels,
    RandomControl,
    RandomNoise,
    SavedImages,
    SeverityTable,
    Source,
    Surrogate,
    Universal,
)
from robustcsc.measurements.policies import (
    Adapted,
    Adaptive,
    Blind,
    FixedLambda,
    LambdaPolicy,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import (
    AttackDetails,
    BudgetDetails,
    Cost,
    CraftingDetails,
    GradientChecks,
    Images,
    Location,
    Measurement,
    Metric,
    Outcomes,
    Record,
    Subject,
)
from robustcsc.measurements.threats import ThreatModel

# Neither lone surrogates, which are no text, nor the character 0 and a carriage return, which end text in CSV files.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=12)
LABEL = st.just("") | TEXT
SEED = st.integers(0, 2**63 - 1)
COUNT = st.integers(1, 2**40)
SHARE = st.floats(0, 1)
LAMBDA = st.floats(0, 1e6) | st.sampled_from([0.1, 1 / 31, 0.1 + 0.2])
EPSILON = SHARE | st.sampled_from([8 / 255, 0.0314, 1 / 31])
THREATS = st.builds(ThreatModel, st.sampled_from(["linf", "l2"]), EPSILON) | st.builds(
    ThreatModel, st.just("l2"), st.floats(0, 1e9)
)


@st.composite
def attack_steps(draw: st.DrawFn) -> AttackStep:
    """Any attack with any settings that have a meaning."""
    name = draw(st.sampled_from(sorted(ATTACKS)))
    kind = ATTACKS[name]
    above_0 = st.floats(0, 100, exclude_min=True)
    values: dict[type, st.SearchStrategy[Any]] = {int: st.integers(1, 1000), str: st.sampled_from(["ce", "dlr"])}
    chosen = draw(st.sets(st.sampled_from(sorted(kind.settings)))) if kind.settings else set()
    settings = {setting: draw(values.get(type(kind.settings[setting]), above_0)) for setting in sorted(chosen)}
    return AttackStep.of(name, restarts=draw(st.integers(1, 5)) if kind.random else 1, **settings)


STEPS = attack_steps()
TABLES = st.builds(SeverityTable, name=TEXT, digest=TEXT, photographs=LABEL)
OTHERS = st.builds(Surrogate, model=TEXT, weights=TEXT)
CRAFTINGS = st.builds(Crafting, images=TEXT, count=COUNT, delta=SHARE, passes=COUNT, batch_size=COUNT, seed=SEED)
PROTOCOLS = st.sampled_from(Protocol)
KINDS: dict[str, st.SearchStrategy[Perturbation]] = {
    "clean": st.just(Clean()),
    "corruption": st.builds(
        Corruption,
        name=TEXT,
        severity=st.integers(1, 5),
        table=TABLES,
        source=st.sampled_from(Source),
        pixels=st.sampled_from(Pixels),
        files=LABEL,
        seed=SEED,
    ),
    "attack": st.builds(
        Attack,
        steps=st.lists(STEPS, min_size=1, max_size=3).map(tuple),
        threat=THREATS,
        protocol=PROTOCOLS,
        seed=SEED,
        surrogate=st.none() | OTHERS,
        saved=st.none() | st.builds(SavedImages, crafted_on=OTHERS, digest=TEXT),
    ),
    "minimal-budget": st.builds(MinimalBudget, step=STEPS, threat=THREATS, protocol=PROTOCOLS, seed=SEED),
    "universal": st.builds(Universal, threat=THREATS, protocol=PROTOCOLS, crafting=CRAFTINGS),
    "random-control": st.builds(
        RandomControl,
        name=st.sampled_from(["random-sign", "gaussian"]),
        threat=THREATS,
        protocol=PROTOCOLS,
        seed=SEED,
    ),
    "random-noise": st.builds(RandomNoise, rho=st.floats(0, 1e9), seed=SEED),
}
ORDERS, SEEDS = st.sampled_from(Order), st.integers(0, 9)
ADAPTATIONS: st.SearchStrategy[Adaptation] = st.one_of(
    st.builds(
        BatchStatistics,
        batch=st.integers(1, 999),
        prior=st.integers(0, 999),
        order=ORDERS,
        seed=SEEDS,
    ),
    st.builds(Shift, batch=st.integers(1, 999), order=ORDERS, seed=SEEDS),
    st.builds(
        Tent,
        batch=st.integers(1, 999),
        learning_rate=st.floats(1e-9, 10),
        steps=st.integers(1, 9),
        episodic=st.booleans(),
        order=ORDERS,
        seed=SEEDS,
    ),
    st.sampled_from([Denoise(method="wavelet"), Denoise(method="tv"), Denoise(method="nlm")]),
)
LAMBDA_POLICIES: st.SearchStrategy[LambdaPolicy] = st.one_of(
    st.sampled_from([NoLambda(), TrainingLambda(), Oracle()]),
    st.builds(FixedLambda, LAMBDA | st.lists(LAMBDA, min_size=2, max_size=3).map(tuple)),
    st.builds(Adaptive, scope=st.sampled_from(Scope), fit=LABEL),
    st.builds(Blind, fit=LABEL),
    st.builds(WorstOf, st.lists(LAMBDA, min_size=1, max_size=4).map(tuple)),
)
POLICIES: st.SearchStrategy[Policy] = LAMBDA_POLICIES | st.builds(Adapted, by=ADAPTATIONS, policy=LAMBDA_POLICIES)
COSTS = st.builds(Cost, attacked=COUNT, forward_calls=COUNT, gradient_calls=COUNT)
LOSSES = st.floats(allow_nan=False, allow_infinity=False)
CHECKS = st.builds(
    GradientChecks,
    images=COUNT,
    zero_gradients=SHARE,
    deterministic=st.booleans(),
    one_step=LOSSES,
    all_steps=LOSSES,
    broken_in_one_step=COUNT,
    right_at_large_budget=COUNT,
)
DETAILS = st.one_of(
    st.none(),
    st.builds(AttackDetails, cost=st.none() | COSTS, rounded_correct=st.none() | COUNT, checks=st.none() | CHECKS),
    st.builds(
        BudgetDetails,
        levels=st.just(7),
        minimal=st.lists(st.integers(0, 128) | st.just(255), min_size=1, max_size=9).map(bytes),
        cost=COSTS,
    ),
    st.builds(
        CraftingDetails,
        converged=st.booleans(),
        fooled=COUNT,
        passes=COUNT,
        file=st.from_regex(r"\A[\w.+-]+\Z"),
    ),
)
MEASUREMENTS = st.builds(
    Measurement,
    subject=st.builds(Subject, run=TEXT, model=TEXT, weights=TEXT),
    images=st.builds(Images, dataset=TEXT, split=TEXT, fingerprint=TEXT, count=COUNT),
    perturbation=st.one_of(*KINDS.values()),
    policy=POLICIES,
    metric=st.sampled_from(Metric),
    batch_size=st.none() | COUNT,
)
RECORDS = st.builds(
    Record,
    measurement=MEASUREMENTS,
    met=st.integers(0, 2**40),
    total=st.integers(2**40, 2**41),
    provenance=st.builds(
        Provenance,
        device=TEXT,
        versions=st.dictionaries(st.sampled_from(["robustcsc", "torch", "python"]), TEXT, min_size=1),
        seconds=st.floats(0, 1e9),
        created=LABEL,
    ),
    lam=st.none() | LAMBDA,
    outcomes=st.none() | st.lists(st.booleans(), min_size=1, max_size=20).map(Outcomes.of),
    details=DETAILS,
    location=st.builds(
        Location,
        image_size=st.none() | COUNT,
        class_order=st.sampled_from([None, "number", "text"]),
        limit=st.none() | COUNT,
        **dict.fromkeys(["data", "root", "table", "frost_root", "files", "source_run"], LABEL),
    ),
)


@pytest.fixture(scope="session")
def kinds() -> dict[str, st.SearchStrategy[Perturbation]]:
    """Any perturbation, by kind."""
    return KINDS


@pytest.fixture(scope="session")
def policies() -> st.SearchStrategy[Policy]:
    """Any policy."""
    return POLICIES


@pytest.fixture(scope="session")
def adaptations() -> st.SearchStrategy[Adaptation]:
    """Anything that is done at test time."""
    return ADAPTATIONS


@pytest.fixture(scope="session")
def steps() -> st.SearchStrategy[AttackStep]:
    """Any attack."""
    return STEPS


@st.composite
def any_measurement(draw: st.DrawFn) -> Measurement:
    """Has a short name in messages."""
    return draw(MEASUREMENTS)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    """Has a short name in messages; its counts agree."""
    record = draw(RECORDS)
    seen, details, met, total = record.outcomes, record.details, record.met, record.total
    if isinstance(details, BudgetDetails):
        seen, met, total = None, details.minimal.count(255), len(details.minimal)
    elif seen is not None:
        met, total = sum(seen.to_list()), seen.count
    if isinstance(details, AttackDetails) and details.rounded_correct is not None:
        details = replace(details, rounded_correct=min(details.rounded_correct, total))
    images = replace(record.measurement.images, count=total)
    measurement = replace(record.measurement, images=images)
    return replace(record, measurement=measurement, met=met, total=total, outcomes=seen, details=details)


@pytest.fixture(scope="session")
def measurements() -> st.SearchStrategy[Measurement]:
    """Any measurement."""
    return any_measurement()


@pytest.fixture(scope="session")
def records() -> st.SearchStrategy[Record]:
    """Any record."""
    return any_record()
