"""What a verdict says of records whose answer is plain to see."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from robustcsc.measurements import facts
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.policies import Adaptive, Scope
from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import AttackDetails, GradientChecks, Record
from robustcsc.presentation.chart import Dots
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.table import Spread
from robustcsc.presentation.words import MISSING
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.words import NOISES
from robustcsc.reports.corruptions.baselines import PUBLISHED_ALEXNET, Baseline, measured_baseline
from robustcsc.reports.verdict.judge import MOST_ROWS, verdicts
from robustcsc.reports.verdict.sentences import verdict_sentences
from robustcsc.reports.verdict.shown import verdict_charts, verdict_tables
from tests.reports.trained import training

RecordMaker = Callable[..., Record]
OTHER: dict[str, Any] = {"run": "resnet", "model": "resnet18", "weights": "4e" * 32}


def said(records: Sequence[Record], *trainings: Any) -> list[str]:
    return verdict_sentences(verdicts(joined(records), trainings))


def shown(records: Sequence[Record]) -> list[tuple[str, ...]]:
    (table,) = verdict_tables(verdicts(joined(records)))
    return [tuple(column.heading for column in table.columns), *table.texts]


def outcomes(right: int, of: int = 100) -> list[bool]:
    return [at < right for at in range(of)]


def noisy(corruption: RecordMaker, right: int, **how: Any) -> list[Record]:
    """All noises at two severities, the harder one with ten images fewer."""
    return [
        corruption(name, severity, outcomes=outcomes(right - 10 * (severity == 2)), **how)
        for name in NOISES
        for severity in (1, 2)
    ]


def test_one_sentence_says_what_the_adaptive_lambda_gains_over_the_training_lambda_and_over_another_run(
    corruption: RecordMaker,
) -> None:
    made = [
        *noisy(corruption, 80, policy="adaptive"),
        *noisy(corruption, 65, policy="train"),
        *noisy(corruption, 60, **OTHER),
    ]
    # 5 images differ in all cells, 20 in half of them, so a = (5 + 20 / 4 + 1) / (25 + 1):
    # (15 -+ 1.96 sqrt(10 + a - 225 / 102)) / 102; and so with 10 and 20
    assert said(made) == [
        "Under the 4 noises the accuracy of sdnet with adaptive lambda is 15.0 points higher than at its training "
        "lambda ([9.2, 20.2], p < 0.001) and 20.0 points higher than that of resnet ([13.1, 26.2], p < 0.001)."
    ]
    assert shown(made) == [
        ("model", "lambda policy", "4 noises"),
        ("resnet", "no lambda", "55.0 [45.7, 63.9]"),  # 50 ones and 10 halves: 100 x 24.85 / 22.35 answers
        ("sdnet", "training lambda", "60.0 [50.7, 68.6]"),
        ("sdnet", "adaptive lambda", "75.0 [66.4, 82.0]"),
    ]


def test_no_accuracy_of_the_table_is_said_again(corruption: RecordMaker, clean: RecordMaker) -> None:
    made = [*noisy(corruption, 83, policy="adaptive"), *noisy(corruption, 66, policy="train")]
    made += [clean(outcomes=outcomes(91), policy=policy) for policy in ("train", "adaptive")]
    numbers = [cell.split()[0] for row in shown(made)[1:] for cell in row[2:]]
    assert numbers == ["91.0", "61.0", "91.0", "78.0"]
    assert not any(number in sentence for number in numbers for sentence in said(made))


def test_the_oracle_and_fixed_lambdas_are_never_credited(corruption: RecordMaker) -> None:
    made = [
        *noisy(corruption, 99, policy="oracle"),
        *noisy(corruption, 95, policy="fixed=0.5"),
        *noisy(corruption, 70, policy="adaptive"),
        *noisy(corruption, 70, policy="train"),
    ]
    assert said(made) == [
        "Under the 4 noises the accuracy of sdnet with adaptive lambda is not shown to differ from that at its "
        "training lambda (+0.0 points, [-1.9, 1.9], p = 1.00)."
    ]
    assert len(shown(made)) == 3
    assert verdicts(joined(noisy(corruption, 99, policy="oracle"))) == []


def test_others_that_do_not_differ_are_named_in_one_sentence(corruption: RecordMaker) -> None:
    def alike(*names: str) -> list[str]:
        who = [{"run": name, "model": name, "weights": name * 64} for name in names]
        return said([corruption("fog", outcomes=outcomes(80 - at), **it) for at, it in enumerate(who)])

    # one and two images differ: (1 -+ 1.96 sqrt(2 - 1 / 102)) / 102, (2 -+ 1.96 sqrt(3 - 4 / 102)) / 102
    one, two = "that of b (+1.0 points, [-1.7, 3.7], p = 0.48)", "that of c (+2.0 points, [-1.3, 5.3], p = 0.25)"
    differs = "Under fog the accuracy of a is not shown to differ from"
    assert alike("a", "b") == [f"{differs} {one}."]
    assert alike("a", "b", "c") == [f"{differs} {one} or {two}."]
    assert alike("a", "b", "c", "d") == [f"{differs} {one}, {two} or that of 1 more."]
    assert alike("a", "b", "c", "d", "e") == [f"{differs} {one}, {two} or those of 2 more."]


def test_of_adaptive_policies_the_first_is_named_though_another_one_is_right_more_often(
    corruption: RecordMaker,
) -> None:
    made = [
        *noisy(corruption, 95, policy="adaptive-image"),
        *noisy(corruption, 90, policy="adaptive"),
        *noisy(corruption, 60, policy="train"),
    ]
    assert said(made)[0].startswith(
        "Under the 4 noises the accuracy of sdnet with adaptive lambda is 30.0 points higher"
    )


def test_an_adaptive_lambda_that_loses_is_said_to_lose(corruption: RecordMaker) -> None:
    made = [*noisy(corruption, 50, policy="adaptive"), *noisy(corruption, 70, policy="train")]
    assert said(made)[0].startswith(
        "Under the 4 noises the accuracy of sdnet with adaptive lambda is 20.0 points lower than at its training "
        "lambda ("
    )


def test_a_note_says_when_the_type_of_noise_was_told(corruption: RecordMaker) -> None:
    def note(fits: Sequence[str]) -> str:
        made = [
            record
            for name, fit in zip(NOISES, fits, strict=True)
            for record in (
                corruption(name, outcomes=outcomes(80), policy=Adaptive(scope=Scope.DATASET, fit=fit)),
                corruption(name, outcomes=outcomes(70), policy="train"),
            )
        ]
        (table,) = verdict_tables(verdicts(joined(made)))
        (found,) = [it for it in table.notes if it.startswith("An adaptive lambda")]
        return found

    one_for_all = "An adaptive lambda is one for the whole set of images unless it says per image"
    assert note(["fa" * 32] * 4) == f"{one_for_all}."
    own = [f"{at:02}" * 32 for at in range(4)]
    assert note(own) == f"{one_for_all}; there is a fit for each type of noise, so the type is told, not guessed."


def test_without_kept_outcomes_the_sentence_says_that_nothing_is_paired(corruption: RecordMaker) -> None:
    made = [corruption(met=8000, policy="adaptive"), corruption(met=6000, policy="train")]
    (sentence,) = said(made)
    assert sentence.startswith("Under gaussian noise the accuracy of sdnet with adaptive lambda is 20.0 points higher")
    assert sentence.endswith(", not paired).")
    (table,) = verdict_tables(verdicts(joined(made)))
    assert any("Not paired" in note for note in table.notes)


def test_only_clean_images_say_nothing_about_robustness(clean: RecordMaker) -> None:
    assert said([clean(met=9000)]) == [
        "Only clean images were measured, which say nothing about the robustness of sdnet."
    ]


def test_a_single_run_is_compared_with_itself_on_clean_images(clean: RecordMaker, corruption: RecordMaker) -> None:
    made = [clean(outcomes=outcomes(90)), *noisy(corruption, 70)]
    assert said(made) == [
        "Under the 4 noises the accuracy of sdnet is 25.0 points lower than on clean images ([16.6, 32.5], p < 0.001)."
    ]
    assert said(noisy(corruption, 70)) == [
        "Under the 4 noises only sdnet was measured: there is nothing to compare it with."
    ]


def test_corruptions_beside_noise_are_a_sentence_of_their_own(corruption: RecordMaker) -> None:
    made = [
        corruption(name, outcomes=outcomes(right), **who)
        for name in {*STANDARD_CORRUPTIONS, *NOISES}
        for right, who in ((80, {}), (60, OTHER))
    ]
    first, second = said(made)
    assert first.startswith("Under the 4 noises the accuracy of sdnet is 20.0 points higher than that of resnet")
    assert second.startswith("Under the 15 corruptions its accuracy is 20.0 points higher than that of resnet")
    assert shown(made)[0] == ("model", "4 noises", "15 corruptions")


def standard(
    corruption: RecordMaker, right: int, *, fog: int | None = None, total: int = 100, **how: Any
) -> list[Record]:
    """All standard corruptions at all severities, every cell with as many right images but for fog."""
    met = {name: right for name in STANDARD_CORRUPTIONS} | ({} if fog is None else {"fog": fog})
    return [
        corruption(name, severity, outcomes=outcomes(met[name], total), **how)
        for name in STANDARD_CORRUPTIONS
        for severity in range(1, 6)
    ]


def related(records: Sequence[Record], baseline: Baseline) -> tuple[list[str], list[tuple[str, ...]]]:
    """What is said of 15 corruptions, and the last column of the table."""
    found = verdicts(joined(records), baseline=baseline)
    (table,) = verdict_tables(found)
    about = [it for it in verdict_sentences(found) if "15 corruptions" in it or "mCE" in it]
    return about, [(table.columns[-1].heading,), *((row[-1],) for row in table.texts)]


def test_a_baseline_adds_the_mce_of_who_met_all_15_corruptions(corruption: RecordMaker) -> None:
    made = [*standard(corruption, 60, **OTHER), *standard(corruption, 70, policy="train")]
    adaptive = standard(corruption, 80, policy="adaptive")
    made += [it for it in adaptive if getattr(it.measurement.perturbation, "name", "") in NOISES]
    sentences, column = related(
        made, measured_baseline("resnet", [it for it in made if it.measurement.subject.run == "resnet"])
    )
    assert column == [("mCE, resnet",), ("100.0",), ("75.0",), (MISSING,)]  # 30 errors of 40
    assert not any("mCE" in it for it in sentences)  # the accuracies say the same
    (table,) = verdict_tables(verdicts(joined(made)))
    assert "mCE" not in csv_text(table)


def test_the_mce_is_said_where_it_turns_the_order_of_models_round(corruption: RecordMaker) -> None:
    # 10 errors in 14 cells of 15 and 90 under fog against 24 in all, relative to errors of 40 and, under fog, of 5
    made = [*standard(corruption, 60, fog=95, **OTHER), *standard(corruption, 90, fog=10, policy="train")]
    made += standard(corruption, 76, run="third", model="third", weights="6f" * 32)
    baseline = measured_baseline("resnet", [it for it in made if it.measurement.subject.run == "resnet"])
    sentences, column = related(made, baseline)
    ours, third = (14 * 10 / 40 + 90 / 5) / 15, (14 * 24 / 40 + 24 / 5) / 15
    assert column[1:] == [("100.0",), (f"{100 * third:.1f}",), (f"{100 * ours:.1f}",)]
    assert sentences[-1] == (
        f"By mCE, which weighs each corruption by the errors of resnet, third is {100 * (ours - third):.1f} points "
        "better than sdnet at its training lambda."
    )


@pytest.mark.parametrize(("source", "pixels"), [("official", "8 bit"), ("generated", "JPEG quality 85")])
def test_published_errors_meet_images_as_published_only(corruption: RecordMaker, source: str, pixels: str) -> None:
    made = standard(corruption, 60, source=source, pixels=pixels, table="imagenet_c")
    made += standard(corruption, 50, pixels="float", table="imagenet_c")
    sentences, column = related(made, PUBLISHED_ALEXNET)
    worse = (88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7)
    mce = sum(40 / it for it in worse) / 15
    assert column == [("mCE, AlexNet (published)",), (f"{100 * mce:.1f}",)]
    (table,) = verdict_tables(verdicts(joined(made), baseline=PUBLISHED_ALEXNET))
    assert any("were generated, stored as published" in note for note in table.notes) == (source == "generated")
    fewer = f"makes {100 - 100 * mce:.1f} % fewer errors than AlexNet (published)"
    assert any(fewer in sentence for sentence in sentences) == (source == "official")


def test_of_several_sources_the_verdict_says_which_it_took(corruption: RecordMaker) -> None:
    made = [*noisy(corruption, 80), *noisy(corruption, 60, pixels="float")]
    made += noisy(corruption, 70, source="official")[:3]
    (table,) = verdict_tables(verdicts(joined(made)))
    assert (
        "Several sets of corrupted images were measured, which never meet; here: generated corruptions, 8 bit. In "
        "other tables: generated corruptions, floats; official corrupted files."
    ) in table.notes
    assert table.texts[0][-1].startswith("75.0")
    (alone,) = verdict_tables(verdicts(joined(made[:8])))
    assert not any("Several sets" in note for note in alone.notes)


def test_images_that_most_models_saw_are_compared_and_a_model_that_saw_others_is_named_with_their_number(
    corruption: RecordMaker, clean: RecordMaker, attack: RecordMaker
) -> None:
    third = {"run": "vgg", "weights": "3c" * 32}
    few = [*noisy(corruption, 80), *noisy(corruption, 60, **OTHER)]  # 100 images
    many = [
        corruption(name, severity, outcomes=outcomes(900, 1000), images="more", policy=policy, **third)
        for policy in ("train", "adaptive", "adaptive-image")  # more results, of one model
        for name in NOISES
        for severity in (1, 2)
    ]
    attacks = [attack(outcomes=outcomes(9)), attack(outcomes=outcomes(0, 50), images="fewer", **OTHER)]
    one, *_, named = said([*few, *many, *attacks, clean(outcomes=outcomes(90, 1000), images="more", **third)])
    assert one.startswith("Under the 4 noises the accuracy of sdnet is 20.0 points higher than that of resnet (")
    assert named == (
        "Measured otherwise, so not compared: resnet (attacks: 50 images) and vgg (corruptions: 1,000 images)."
    )
    assert [row[0] for row in shown([*few, *many])[1:]] == ["resnet", "sdnet"]


def test_a_model_that_lacks_part_of_what_is_compared_is_named(corruption: RecordMaker) -> None:
    made = [*noisy(corruption, 80), *noisy(corruption, 60, **OTHER)[1:]]
    assert said(made)[-1] == "Measured otherwise, so not compared: resnet (corruptions: not all that is compared)."
    assert len(said(noisy(corruption, 80))) == 1


def test_columns_of_fewer_images_say_how_many(corruption: RecordMaker, attack: RecordMaker) -> None:
    attacks = [attack(outcomes=outcomes(10, 50), images="fewer")]
    (table,) = verdict_tables(verdicts(joined([*noisy(corruption, 80), *attacks])))
    assert table.title.startswith("cifar10 test, 100 images")
    assert "Column 'attacks, L∞ 8/255': 50 images." in table.notes


def test_nothing_left_at_any_lambda_is_said_of_the_model(attack: RecordMaker) -> None:
    made = [attack(outcomes=outcomes(0), policy=policy) for policy in ("train", "adaptive-image")]
    assert said(made) == ["Under attack (PGD L∞ 8/255, 20 steps, 100 images) no image is classified right by sdnet."]


def test_under_attack_what_all_attacks_leave_counts_image_by_image(attack: RecordMaker, clean: RecordMaker) -> None:
    # each attack leaves 20 images, and no image both
    made = [
        attack("pgd", outcomes=[True] * 20 + [False] * 80),
        attack("square", protocol="black-box", outcomes=[False] * 80 + [True] * 20),
        clean(outcomes=[True] * 100),
    ]
    assert said(made) == [
        "Under attack (L∞ 8/255, worst of 2 attacks, 100 images) no image is classified right by sdnet."
    ]
    assert shown(made)[1] == ("sdnet", "100.0 [96.3, 100.0]", "0.0 [0.0, 3.7]")


def test_under_attack_the_one_that_is_left_most_leads(attack: RecordMaker) -> None:
    made = [attack(outcomes=outcomes(40)), attack(outcomes=outcomes(10), **OTHER)]
    assert said(made) == [
        "Under attack (PGD L∞ 8/255, 20 steps, 100 images) the accuracy of sdnet is 30.0 points higher than that of "
        "resnet ([20.4, 38.5], p < 0.001)."
    ]


def test_a_transfer_test_is_no_test_of_robustness(attack: RecordMaker, clean: RecordMaker) -> None:
    static = attack(outcomes=outcomes(60), policy="adaptive", protocol="static")
    assert said([static, clean(outcomes=outcomes(90), policy="adaptive")]) == [
        "Only clean images were measured, which say nothing about the robustness of sdnet with adaptive lambda.",
        "Of attacks (L∞ 8/255) only transfer tests were made, which say little about robustness.",
    ]
    plain = attack(outcomes=outcomes(0), policy="train")
    assert said([static, plain]) == [
        "Under attack (PGD L∞ 8/255, 20 steps, 100 images) no image is classified right by sdnet at its "
        "training lambda."
    ]
    assert shown([static, plain])[2][2].endswith("(transfer only)")


def test_flags_and_doubts_are_mentioned(attack: RecordMaker) -> None:
    checks = GradientChecks(
        images=10, zero_gradients=0.9, deterministic=True, one_step=1.0, all_steps=2.0, broken_in_one_step=0,
        right_at_large_budget=0,
    )  # fmt: skip
    flagged = attack(outcomes=outcomes(40), details=AttackDetails(checks=checks))
    doubted = facts.replace(flagged, provenance=facts.replace(flagged.provenance, doubts=(Doubt.PROBABILITIES,)))
    assert said([doubted])[1:] == [
        "The attacks on sdnet are too weak to tell (the gradient is exactly zero in many pixels).",
        "sdnet returns probabilities, not logits: attacks on it are weaker than they look.",
    ]


def test_each_data_set_has_a_verdict_that_names_it(corruption: RecordMaker) -> None:
    made = [
        corruption(met=met, run=run, weights=weights, dataset=dataset, images=dataset)
        for dataset in ("cifar10", "mnist")
        for met, run, weights in ((9000, "a", "aa" * 32), (8000, "b", "bb" * 32))
    ]
    made += [
        corruption(severity=2, met=1, run=run, weights=run * 64, dataset="mnist", images="mnist") for run in ("a", "b")
    ]
    found = said(made)
    assert [sentence.partition(":")[0] for sentence in found] == ["mnist test", "cifar10 test"]
    tables = verdict_tables(verdicts(joined(made)))
    assert [table.name for table in tables] == ["verdict", "verdict-1"]


def test_seeds_of_one_training_share_a_row_and_are_paired_together(corruption: RecordMaker) -> None:
    weights = ["aa" * 32, "bb" * 32]
    known = [training("sdnet18", at, weights=it) for at, it in enumerate(weights)]
    made = [
        corruption(outcomes=outcomes(right), run=f"run{at}", weights=it)
        for at, (it, right) in enumerate(zip(weights, (80, 90), strict=True))
    ]
    made.append(corruption(outcomes=outcomes(60), **OTHER))
    (verdict,) = verdicts(joined(made), known)
    (table,) = verdict_tables([verdict])
    name, found = table.rows[-1]
    assert isinstance(found, Spread) and name == "sdnet18 (2 training seeds)"
    assert (found.mean, found.std, found.seeds) == pytest.approx((0.85, 0.05 * 2**0.5, 2))
    # ten images differ by a half from the seeds' mean: 25 points
    assert verdict_sentences([verdict])[0].startswith(
        "Under gaussian noise the accuracy of sdnet18 (2 training seeds) is 25.0 points higher than that of resnet"
    )


def test_a_small_table_stays_small(corruption: RecordMaker) -> None:
    made = [corruption(met=5000 + 10 * at, run=f"run{at:02}", weights=f"{at:064}") for at in range(2 * MOST_ROWS)]
    (verdict,) = verdicts(joined(made))
    assert (
        len(verdict.rows) == MOST_ROWS and verdict.leads[verdict.main] in verdict.rows and verdict.left_out == MOST_ROWS
    )


def test_fooling_rates_alone_have_a_verdict_too(universal: RecordMaker) -> None:
    made = [universal(outcomes=outcomes(80)), universal(outcomes=outcomes(40), **OTHER)]
    (sentence,) = said(made)
    assert sentence.startswith(
        "By a universal perturbation (L∞ 10/255) the fooling rate of resnet is 40.0 points lower than that of sdnet "
        "([29."
    )


def test_the_files_hold_typed_numbers(corruption: RecordMaker) -> None:
    (table,) = verdict_tables(verdicts(joined(noisy(corruption, 80))))
    heading, row = csv_text(table).splitlines()
    assert heading == "model,4 noises (%),4 noises low (%),4 noises high (%),4 noises n"
    assert row.startswith("sdnet,75.0,66.") and row.endswith(",100")


def test_the_chart_shows_the_numbers_of_the_table_as_dots(corruption: RecordMaker, clean: RecordMaker) -> None:
    made = [clean(outcomes=outcomes(90)), *noisy(corruption, 80), clean(outcomes=outcomes(95), **OTHER)]
    (chart,) = verdict_charts(verdicts(joined(made)))
    first, second = chart.panels
    assert isinstance(first, Dots) and isinstance(second, Dots)
    assert (first.title, second.title, first.rows) == ("clean", "4 noises", ("resnet", "sdnet"))
    assert [it and it.value for it in (*first.points, *second.points)] == [0.95, 0.9, None, 0.75]
    assert verdict_charts(verdicts(joined(noisy(corruption, 80)))) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_records_has_a_verdict_that_can_be_said(
    seed: int,
    clean: RecordMaker,
    corruption: RecordMaker,
    attack: RecordMaker,
    minimal: RecordMaker,
    universal: RecordMaker,
    random_noise: RecordMaker,
) -> None:
    drawn = random.Random(seed)
    who = [{"run": name, "weights": name * 64} for name in "abc"]
    made = []
    for _ in range(drawn.randint(1, 30)):
        maker = drawn.choice([clean, corruption, attack, universal, random_noise])
        how: dict[str, Any] = dict(drawn.choice(who))
        how["policy"] = drawn.choice(["none", "train", "adaptive", "adaptive-image", "oracle", "fixed=0.5"])
        if maker is corruption:
            how |= {"name": drawn.choice(["fog", "snow", *NOISES, "spatter"]), "severity": drawn.randint(1, 3)}
        if maker is attack:
            how |= {"protocol": drawn.choice(["plain", "static", "adaptive"]), "norm": drawn.choice(["linf", "l2"])}
        counts = {"met": drawn.randint(0, 50), "total": 50}
        made.append(
            maker(**how, **(counts if drawn.random() < 0.5 else {"outcomes": outcomes(drawn.randint(0, 50), 50)}))
        )
    found = verdicts(joined(made))
    for sentence in said(made):
        assert sentence[-1] == "." and ".." not in sentence and "  " not in sentence and "nan" not in sentence
    assert len(verdict_tables(found)) == len(found)
    verdict_charts(found)
