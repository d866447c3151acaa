"""The cells of attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustcsc.errors import AttackError, PolicyError, StoreError
from robustcsc.evaluation.attacks.plans import (
    AttackRequest,
    attack_plan,
    check_save,
    completed,
    suite_plan,
    suiting,
)
from robustcsc.evaluation.attacks.suites import Round, Suite
from robustcsc.evaluation.plan import ModelFacts, Planner
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Attack, MinimalBudget, Surrogate
from robustcsc.measurements.policies import FixedLambda, TrainingLambda
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.records import Images, Subject
from robustcsc.measurements.threats import Norm, ThreatModel

FGSM, PGD, CW = AttackStep.of("fgsm"), AttackStep.of("pgd", steps=2), AttackStep.of("cw", steps=2)
LINF, L2 = ThreatModel("linf", 0.05), ThreatModel("l2", 0.3)
OTHER = Surrogate(model="linear", weights="11")
REQUEST = AttackRequest(steps=(FGSM, PGD), threats=(LINF,), protocols=(Protocol.PLAIN,))
SMALL = Suite(
    words="",
    rounds=(
        Round(protocol=Protocol.PLAIN, attacks=(PGD, CW)),
        Round(protocol=Protocol.STATIC, attacks=(PGD,)),
        Round(protocol=Protocol.FIXED, attacks=(PGD,), multiples=(2, 9)),
        Round(protocol=Protocol.TRANSFER, attacks=(PGD,)),
    ),
    epsilon={"linf": 0.05, "l2": 0.3},
    curve={"linf": (0.01, 0.02)},
    curve_rounds=(Round(protocol=Protocol.ADAPTIVE, attacks=(PGD,)),),
)


@pytest.fixture
def facts(fit: LambdaFit) -> ModelFacts:
    subject = Subject(run="r", model="tiny", weights="5d")
    return ModelFacts(subject=subject, training_lambdas=(0.1,), fits={"gaussian": fit})


@pytest.fixture
def planner(facts: ModelFacts) -> Planner:
    images = Images(dataset="digits", split="test", fingerprint="feed", count=60)
    return Planner(model=facts, images=images, batch_size=40)


@pytest.fixture
def without_lambda(facts: ModelFacts) -> ModelFacts:
    return replace(facts, training_lambdas=(), fits={})


def attacks(planner: Planner, request: AttackRequest) -> list[list[Attack]]:
    """The attacks of each chain."""
    chains = []
    for chain in attack_plan(planner, request):
        made = [cell.perturbation for cell in chain]
        chains.append([it for it in made if isinstance(it, Attack)])
        assert len(chains[-1]) == len(made)
    return chains


def test_each_attack_is_measured_at_each_budget_under_each_protocol(planner: Planner) -> None:
    request = replace(REQUEST, threats=(LINF, L2), protocols=(Protocol.PLAIN, Protocol.ADAPTIVE), seed=4)
    expected = [
        [Attack(steps=(step,), threat=threat, protocol=protocol, seed=4)]
        for threat in (LINF, L2)
        for protocol in (Protocol.PLAIN, Protocol.ADAPTIVE)
        for step in (FGSM, PGD)
    ]
    assert attacks(planner, request) == expected


def test_attacks_in_turn_are_one_chain_that_names_those_before(planner: Planner) -> None:
    plain, *static = attacks(planner, replace(REQUEST, protocols=(Protocol.PLAIN, Protocol.STATIC), in_turn=True))
    assert [attack.steps for attack in plain] == [(FGSM,), (FGSM, PGD)]
    # Lambda is chosen for the whole set: every image takes part in each attack.
    assert [[attack.steps for attack in chain] for chain in static] == [[(FGSM,)], [(PGD,)]]


def test_only_transfer_names_the_other_model(planner: Planner) -> None:
    request = replace(REQUEST, steps=(PGD,), protocols=(Protocol.PLAIN, Protocol.TRANSFER), surrogate=OTHER)
    plain, transfer = attacks(planner, request)
    assert (plain[0].surrogate, transfer[0].surrogate) == (None, OTHER)


def test_searches_are_one_cell_for_each_attack_and_target(planner: Planner) -> None:
    request = replace(REQUEST, protocols=(Protocol.PLAIN, Protocol.FIXED), lambdas=(0.1, 0.5), smallest=True)
    cells = [cell for (cell,) in attack_plan(planner, request)]
    assert [cell.perturbation for cell in cells] == [
        MinimalBudget(step=step, threat=LINF, protocol=protocol)
        for protocol in (Protocol.PLAIN, Protocol.FIXED, Protocol.FIXED)
        for step in (FGSM, PGD)
    ]
    policies = [cell.measurements[0].policy for cell in cells]
    assert policies[::2] == policies[1::2] == [TrainingLambda(), FixedLambda(0.1), FixedLambda(0.5)]


def test_requests_that_make_no_sense_are_refused(planner: Planner, without_lambda: ModelFacts) -> None:
    with pytest.raises(AttackError, match="cw supports l2, not linf"):
        replace(REQUEST, steps=(CW,))
    with pytest.raises(AttackError, match="without gradients: leave it or the attack pgd out"):
        replace(REQUEST, steps=(PGD,), protocols=(Protocol.PLAIN, Protocol.BLACK_BOX))
    with pytest.raises(PolicyError, match="name it with --from"):
        attack_plan(planner, replace(REQUEST, protocols=(Protocol.TRANSFER,)))
    own = Surrogate(model="tiny", weights="5d")
    with pytest.raises(PolicyError, match="names the same weights"):
        attack_plan(planner, replace(REQUEST, protocols=(Protocol.TRANSFER,), surrogate=own))
    with pytest.raises(PolicyError, match="no lambda for an attack to meet"):
        attack_plan(replace(planner, model=without_lambda), replace(REQUEST, protocols=(Protocol.ADAPTIVE,)))


@pytest.mark.parametrize("protocol", Protocol)
def test_attacks_in_turn_share_images_unless_these_are_crafted_for_another_lambda_or_model(
    protocol: Protocol, planner: Planner
) -> None:
    steps = tuple(AttackStep.of("square", queries=queries) for queries in (2, 3))
    chains = attacks(planner, replace(REQUEST, steps=steps, protocols=(protocol,), in_turn=True, surrogate=OTHER))
    alone = protocol in (Protocol.STATIC, Protocol.TUNED, Protocol.TRANSFER)
    assert {tuple(it.steps for it in chain) for chain in chains} == (
        {(steps[:1],), (steps[1:],)} if alone else {(steps[:1], steps)}
    )


@pytest.mark.parametrize(
    "protocol", [Protocol.STATIC, Protocol.TUNED, Protocol.GRID, Protocol.TRANSFER, Protocol.BLACK_BOX]
)
def test_searches_go_with_white_box_protocols_of_one_lambda(protocol: Protocol, planner: Planner) -> None:
    with pytest.raises(PolicyError, match=f"--min-epsilon .*not with {protocol}"):
        square = AttackStep.of("square", queries=3)
        request = replace(REQUEST, steps=(square,), protocols=(protocol,), smallest=True, surrogate=OTHER)
        attack_plan(planner, request)


def test_protocols_that_suit_are_those_of_a_request_without_any(facts: ModelFacts, without_lambda: ModelFacts) -> None:
    asked = replace(REQUEST, protocols=())
    assert completed(asked, facts, None).protocols == BASIC == (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
    for model in (replace(facts, fits={}), without_lambda):
        assert completed(asked, model, None).protocols == (Protocol.PLAIN,)
    assert completed(asked, facts, OTHER) == replace(asked, protocols=(*BASIC, Protocol.TRANSFER), surrogate=OTHER)
    assert completed(replace(asked, smallest=True), facts, None).protocols == (Protocol.PLAIN, Protocol.ADAPTIVE)
    assert completed(REQUEST, facts, None) == REQUEST
    with pytest.raises(PolicyError, match="--from belongs to the protocol transfer"):
        completed(REQUEST, facts, OTHER)
    with pytest.raises(PolicyError, match="no lambda for an attack to meet"):
        completed(replace(REQUEST, protocols=(Protocol.STATIC,)), without_lambda, None)


def test_images_of_one_attack_are_kept_and_no_file_is_overwritten(tmp_path: Path) -> None:
    one = replace(REQUEST, steps=(PGD,))
    check_save(one, None)
    check_save(one, tmp_path / "new")
    for several in (REQUEST, replace(one, threats=(LINF, L2)), replace(one, protocols=BASIC)):
        with pytest.raises(PolicyError, match="--save keeps the images of one"):
            check_save(several, tmp_path / "new")
    with pytest.raises(PolicyError, match="--min-epsilon keeps no images"):
        check_save(replace(one, smallest=True), tmp_path / "new")
    (tmp_path / "old").touch()
    with pytest.raises(StoreError, match="exists already"):
        check_save(one, tmp_path / "old")


def test_a_suite_measures_every_round_at_every_budget(planner: Planner) -> None:
    norms: tuple[Norm, ...] = ("linf", "l2")
    chains = suite_plan(planner, SMALL, norms, surrogate=OTHER, seed=3)
    made = [[it for cell in chain if isinstance(it := cell.perturbation, Attack)] for chain in chains]
    found = [(chain[0].threat, chain[0].protocol) for chain in made]
    names = [Protocol.PLAIN, Protocol.STATIC, Protocol.FIXED, Protocol.FIXED, Protocol.TRANSFER]
    assert found == [
        *[(LINF, name) for name in names],
        (ThreatModel("linf", 0.01), Protocol.ADAPTIVE),
        (ThreatModel("linf", 0.02), Protocol.ADAPTIVE),
        *[(L2, name) for name in names],
    ]
    # Carlini & Wagner know l2 only; attacks of a round are in turn.
    assert [attack.steps for chain in made for attack in chain if CW in attack.steps] == [(PGD, CW)]
    assert {attack.seed for chain in made for attack in chain} == {3}
    policies = [cell.measurements[0].policy for cell, *_ in chains]
    fixed = [policy for policy, (_, protocol) in zip(policies, found, strict=True) if protocol is Protocol.FIXED]
    assert fixed == [FixedLambda(0.2), FixedLambda(0.9)] * 2


def test_what_does_not_suit_is_left_out_and_named(
    planner: Planner, facts: ModelFacts, without_lambda: ModelFacts
) -> None:
    everything = [Protocol.PLAIN, Protocol.STATIC, Protocol.FIXED, Protocol.TRANSFER, Protocol.ADAPTIVE]
    assert suiting(SMALL, facts, surrogate=True) == (everything, [])
    assert suiting(SMALL, facts, surrogate=False)[1] == [Protocol.TRANSFER]
    unfitted = replace(facts, fits={})
    assert suiting(SMALL, unfitted, surrogate=True)[1] == [Protocol.STATIC, Protocol.ADAPTIVE]
    # Without lambda nothing else is missing.
    assert suiting(SMALL, without_lambda, surrogate=False) == ([Protocol.PLAIN], [Protocol.TRANSFER])
    notes: list[str] = []
    chains = suite_plan(replace(planner, model=unfitted), SMALL, ("linf",), note=notes.append)
    assert notes == [
        "Left out: static (needs a lambda fit), transfer (needs --from RUN), adaptive (needs a lambda fit)."
    ]
    assert len(chains) == 3
    with pytest.raises(PolicyError, match="This suite has no transfer attacks"):
        suite_plan(planner, replace(SMALL, rounds=SMALL.rounds[:1]), ("linf",), surrogate=OTHER)
