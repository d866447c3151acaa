from __future__ import annotations

from collections.abc import Callable

from robustcsc.measurements.records import Record
from tests.reports.trained import run_of, training

from .tables import NOT_MEASURED, by_name, row

RecordMaker = Callable[..., Record]


def test_the_lowest_is_counted_image_by_image(attack: RecordMaker) -> None:
    made = [
        attack(step, protocol=protocol, policy=policy, outcomes=[digit == "1" for digit in digits])
        for step, protocol, policy, digits in (
            ("pgd", "static", "adaptive", "11110000"),
            ("square", "black-box", "adaptive", "00111100"),
            ("pgd", "fixed", "fixed=0.5", "00000111"),
        )
    ]
    found = row(by_name("sdnet", made)["4"], "SDNet-18 (after tuning λ)")
    assert found["lowest measured, L∞ 8/255"].startswith("25.00 [")
    assert found["lowest measured, L∞ 8/255"].endswith("(2 attacks)")


def test_each_adaptive_policy_is_counted_by_itself_and_transfer_tests_alone_say_nothing(attack: RecordMaker) -> None:
    static = attack(protocol="static", policy="adaptive", outcomes=[True, False, False, False])
    through = attack(protocol="adaptive", policy="adaptive-image", outcomes=[False, True, True, False])
    column = "lowest measured, L∞ 8/255"
    assert row(by_name("sdnet", [static])["4"], "SDNet-18 (after tuning λ)")[column] == NOT_MEASURED
    found = row(by_name("sdnet", [static, through])["4"], "SDNet-18 (after tuning λ)")[column]
    assert found.startswith("50.00 [") and found.endswith("(1 attack, adaptive lambda per image)")
    tuned = attack("square", protocol="black-box", policy="adaptive", outcomes=[True, True, True, False])
    own = row(by_name("sdnet", [static, through, tuned])["4"], "SDNet-18 (after tuning λ)")[column]
    assert own.startswith("25.00 [") and own.endswith("(2 attacks)")


def test_pgd_is_the_longest_of_the_rows_own_policy_and_images(attack: RecordMaker) -> None:
    made = [
        attack("pgd:steps=10", met=30, total=100, protocol="static", policy="adaptive"),
        attack("pgd:steps=20", met=40, total=100, protocol="static", policy="adaptive"),
        attack("pgd:steps=100", met=1, total=100, protocol="static", policy="oracle"),
        attack("pgd:steps=200", met=2, total=100, protocol="static", policy="adaptive", dataset="svhn"),
    ]
    found = row(by_name("sdnet", made)["4"], "SDNet-18 (after tuning λ)")["PGD L∞ 8/255"]
    assert found.startswith("40.00 [") and found.endswith("(20 steps)")


def test_the_lambda_stands_for_the_images_and_the_policy_of_the_accuracy(corruption: RecordMaker) -> None:
    made = [
        corruption(met=correct, total=total, policy="adaptive", lam=lam, images=images)
        for correct, total, lam, images in ((800, 1000, 0.5, "many"), (90, 100, 0.9, "few"))
    ]
    second = by_name("sdnet", made)["2"]
    assert row(second, "SDNet-18 w/ adaptive λ")["severity 1"].startswith("80.00 [")
    used = row(second, "λ from linear fitting")
    assert (used["severity 1"], used["measured on"]) == ("0.50", "cifar10, 1000 images")


def test_the_time_of_classification_is_that_of_the_rows_images(clean: RecordMaker) -> None:
    it = training("resnet8", 0)
    made = [
        clean(met=1, total=10, seconds=seconds, dataset=dataset, **run_of(it))
        for seconds, dataset in ((2.0, "cifar10"), (90.0, "svhn"))
    ]
    assert row(by_name("detrame", made, [it])["7"], "ResNet 8")["testing (s per image), original"] == "0.2"


def test_sizes_and_speeds_come_from_the_training(clean: RecordMaker) -> None:
    known = [training("sdnet18", 0, parameters=11_200_000, trained_on=50_000, epochs=220, seconds=11_000.0)]
    made = [clean(met=9520, **run_of(known[0]), dataset="cifar10", policy="train")]
    first = row(by_name("sdnet", made, known)["1"], "CIFAR-10", "SDNet-18")
    assert first["parameters"] == "11.20M"
    assert first["training (images/s)"] == "1000"
    assert first["training memory"] == NOT_MEASURED
