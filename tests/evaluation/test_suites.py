from __future__ import annotations

from dataclasses import replace

import pytest

from robustcsc.attacks.catalog import Chosen
from robustcsc.measurements.threats import Norm
from robustcsc.data import ImageSet
from robustcsc.evaluation.crafting import Bench
from robustcsc.evaluation.protocols import PROTOCOLS
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.suites import SUITES, Round, Suite, run_suite, sensible
from robustcsc.measurements.store import ResultStore

QUICK = Chosen("pgd", {"steps": 2, "step_size": 0.05})
SMALL = Suite(
    words="",
    rounds=(
        Round(protocol="plain", attacks=(QUICK, Chosen("cw", {"steps": 2, "searches": 1}))),
        Round(protocol="static", attacks=(QUICK,)),
        Round(protocol="fixed", attacks=(QUICK,), multiples=(2, 9)),
        Round(protocol="transfer", attacks=(QUICK,)),
    ),
    epsilon={"linf": 0.05, "l2": 0.3},
    curve={"linf": (0.01, 0.02)},
    curve_rounds=(Round(protocol="adaptive", attacks=(QUICK,)),),
)


@pytest.fixture
def bench(subject: Subject, images: ImageSet, store: ResultStore) -> Bench:
    return Bench(subject=subject, images=images, store=store, batch_size=60, checks=False)


def test_a_suite_measures_every_round_at_every_budget(bench: Bench, plain: Subject) -> None:
    records = list(run_suite(bench, SMALL, source=plain))
    found = [(it.condition.norm, it.condition.epsilon, it.condition.protocol.split()[0]) for it in records]
    assert found == [
        *[("linf", 0.05, name) for name in ("plain", "static", "fixed", "fixed", "transfer", "transfer")],
        ("linf", 0.01, "adaptive"),
        ("linf", 0.02, "adaptive"),
        *[("l2", 0.3, name) for name in ("plain", "plain", "static", "fixed", "fixed", "transfer", "transfer")],
    ]
    # Carlini & Wagner know l2 only.
    assert [it.condition.name for it in records if "cw" in it.condition.name] == [
        "pgd (2 steps, step 0.05) > cw (searches 1)"
    ]


def test_a_stopped_suite_goes_on(bench: Bench) -> None:
    whole = list(run_suite(bench, SMALL, norms=("linf",)))
    again = list(run_suite(bench, SMALL, norms=("linf",)))
    assert again == whole


def test_what_does_not_suit_is_left_out_and_named(subject: Subject, plain: Subject) -> None:
    assert sensible(SMALL, subject, plain) == (["plain", "static", "fixed", "transfer", "adaptive"], [])
    assert sensible(SMALL, subject, None)[1] == ["transfer"]
    assert sensible(SMALL, replace(subject, fits={}), plain)[1] == ["static", "adaptive"]
    assert sensible(SMALL, plain, None) == (["plain"], ["transfer"])  # without lambda nothing else is missing


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_what_exists(name: str) -> None:
    norms: tuple[Norm, ...] = ("linf", "l2")
    for each in (*SUITES[name].rounds, *SUITES[name].curve_rounds):
        assert each.protocol in PROTOCOLS
        assert bool(each.multiples) == (each.protocol in ("fixed", "grid"))
        assert all(any(norm in attack.kind.norms for norm in norms) for attack in each.attacks)
    assert set(SUITES[name].epsilon) == set(norms)


def test_the_paper_suite_is_what_attack_pgd_measures_by_default() -> None:
    suite = SUITES["paper"]
    assert [(each.protocol, [it.label for it in each.attacks]) for each in suite.rounds] == [
        ("plain", ["pgd"]),
        ("static", ["pgd"]),
        ("tuned", ["pgd"]),
        ("adaptive", ["pgd"]),
    ]
    assert suite.epsilon == {"linf": 8 / 255, "l2": 0.5}
