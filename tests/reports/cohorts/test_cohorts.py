from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.measurements.policies import FixedLambda, TrainingLambda
from robustcsc.measurements.records import BudgetDetails, Cost, Record, Subject
from robustcsc.reports.attacks.adversarial import worst_case_tables
from robustcsc.reports.attacks.fooling import fooling_tables
from robustcsc.reports.attacks.minimal import minimal_tables
from robustcsc.reports.cohorts.cohorts import Cohort, Variant, by_cohort, labels_of, pool, without_fixed
from robustcsc.reports.cohorts.settings import is_basic, setting_of
from robustcsc.reports.cohorts.words import policy_words
from robustcsc.reports.comparisons.differences import difference_tables

RecordMaker = Callable[..., Record]


def test_after_a_refit_one_series_never_mixes_two_fits(corruption: RecordMaker) -> None:
    def made(correct: int, severity: int, fit: str, day: int) -> Record:
        created = f"2026-01-{day:02}T00:00:00+00:00"
        return corruption(severity=severity, met=correct, policy="adaptive", fit=fit, created=created)

    old = [made(1000, severity, "old", 1) for severity in (1, 2, 3)]
    new = [made(9000, severity, "new", 2) for severity in (1, 2)]
    ((((by_severity,),),),) = [
        [[rows.values()] for rows in settings.values()] for settings in by_cohort([*new, *old]).values()
    ]
    assert {severity: it.met for severity, it in by_severity.items()} == {1: 9000, 2: 9000}


def test_of_fits_measured_at_once_one_counts_whatever_the_order(
    corruption: RecordMaker, attack: RecordMaker, minimal: RecordMaker, random_noise: RecordMaker
) -> None:
    details = BudgetDetails(
        levels=4, minimal=bytes([255] * 4), cost=Cost(attacked=4, forward_calls=1, gradient_calls=1)
    )
    right = {"a": [True, False, False, False], "b": [True, True, True, False]}

    def shown(fits: str) -> list[tuple[str, ...]]:
        how = [{"policy": "adaptive", "fit": fit, "outcomes": right[fit]} for fit in fits]
        tables = [
            *difference_tables([*(corruption(**it) for it in how), corruption(met=2, total=4, policy="train")]),
            *worst_case_tables([attack(protocol="adaptive", **it) for it in how]),
            *minimal_tables([minimal(details=details, **it) for it in how]),
            *fooling_tables([random_noise(**it) for it in how]),
        ]
        return [row for table in tables for row in table.texts]

    assert shown("ab") == shown("ba") and len(shown("ab")) == 4
    assert all("75.00" in str(row) or "+25.00" in str(row) for row in shown("ab"))


def test_corruptions_stand_in_the_order_of_the_papers(corruption: RecordMaker) -> None:
    names = ("spatter", "fog", "impulse_noise", "jpeg_compression", "speckle_noise", "gaussian_noise", "snow")
    (settings,) = by_cohort([corruption(name, met=1) for name in names]).values()
    # SDNet's Table 3, then Hendrycks & Dietterich's Table 1, then the others
    shown = [setting.name for setting in settings if hasattr(setting, "name")]
    assert shown == [
        *("gaussian_noise", "speckle_noise", "impulse_noise"),
        *("snow", "fog", "jpeg_compression", "spatter"),
    ]


def test_the_pooled_interval_is_that_of_one_cell(corruption: RecordMaker) -> None:
    measured = {severity: corruption(severity=severity, met=90, total=100) for severity in (1, 2, 3)}
    found = pool([(measured, (1, 2, 3))])
    assert found is not None
    assert (found.met, found.total) == (270, 300)
    # by hand for 90 in 100 with z = 1.96: (0.9 + 0.019208 -+ 0.061882) / 1.038416
    assert found.interval == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert pool([(measured, (1, 2, 3, 4))]) is None


def test_a_setting_has_no_severity_and_no_seed(corruption: RecordMaker, attack: RecordMaker) -> None:
    first, second = (corruption("fog", 1 + seed, met=1, seed=seed) for seed in (0, 1))
    assert setting_of(first.measurement.perturbation) == setting_of(second.measurement.perturbation)
    assert Cohort.of(first) != Cohort.of(second)
    first, second = (attack(met=1, seed=seed) for seed in (0, 1))
    assert setting_of(first.measurement.perturbation) == setting_of(second.measurement.perturbation)
    assert Cohort.of(first) != Cohort.of(second)


def test_basic_attacks_are_single_and_plain_static_or_adaptive(attack: RecordMaker, clean: RecordMaker) -> None:
    made = [attack(met=1, protocol=protocol) for protocol in ("plain", "static", "adaptive", "grid", "transfer")]
    made += [attack("pgd", "square", met=1), clean(met=1)]
    assert [is_basic(it.measurement.perturbation) for it in made] == [True, True, True, False, False, False, False]


def test_weights_are_named_where_a_run_has_several(clean: RecordMaker) -> None:
    first, second = clean(met=1, policy="train"), clean(met=1, policy="train", weights="ab" * 32)
    assert set(labels_of([first]).values()) == {("sdnet", "training lambda")}
    assert {run for run, _ in labels_of([first, second]).values()} == {
        "sdnet (sdnet18, weights 5d5d5d5d)",
        "sdnet (sdnet18, weights abababab)",
    }


def test_lambdas_fixed_per_layer_are_no_points_of_a_curve() -> None:
    subject = Subject(run="r", model="m", weights="w")
    train, point, layers = (
        Variant(subject, it) for it in (TrainingLambda(), FixedLambda(0.3), FixedLambda((0.3, 0.1)))
    )
    assert without_fixed([train, point, layers]) == [train, layers]
    assert without_fixed([point]) == [point]
    assert policy_words(layers.policy) == "fixed lambdas 0.3, 0.1"
