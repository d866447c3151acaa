"""Suites of attacks through a session: budgets that a user chooses, and models of few classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import robustcsc as rc
from robustcsc.data.memory import MemoryImages
from robustcsc.errors import AttackError, PolicyError
from robustcsc.evaluation.attacks.plans import AttackRequest
from robustcsc.measurements.adaptations import BatchStatistics
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Attack, Clean
from robustcsc.measurements.policies import Adapted, Adaptive, Blind, Scope
from robustcsc.measurements.records import Images, Measurement, Subject
from robustcsc.measurements.threats import ThreatModel
from robustcsc.reports.attacks.adversarial import worst_case_tables
from robustcsc.session.attacking import _saved_of
from robustcsc.session.measuring import Measuring
from robustcsc.session.session import Session

NEED_FOUR, NEED_THREE = "apgd-t:steps=50 (needs 4 classes)", "apgd:loss=dlr:steps=50 (needs 3 classes)"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Brightest(nn.Module):
    """The class is the brightest channel, from its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.scale * images.mean((2, 3))
        return logits


def session(channels: int, notes: list[str] | None = None) -> Session:
    """The model on images whose brightest channel is 10, 20 or 40 grey levels above the others."""
    pixels = torch.full((3 * channels, channels, 8, 8), 100, dtype=torch.uint8)
    labels = torch.arange(channels).repeat_interleave(3)
    for image, (label, more) in enumerate(zip(labels.tolist(), [10, 20, 40] * channels, strict=True)):
        pixels[image, label] += more
    images = MemoryImages(
        name="patches",
        split="test",
        classes=tuple(map(str, range(channels))),
        pixels=pixels,
        labels=labels,
        positions=torch.arange(len(labels)),
    )
    measuring = Measuring(note=notes.append if notes is not None else print)
    return rc.open("brightest", model=Brightest(), images=images, measuring=measuring)


def made(records: rc.Results) -> list[Attack]:
    return [it for record in records if isinstance(it := record.measurement.perturbation, Attack)]


def test_a_budget_stands_for_those_of_the_suite_in_every_member() -> None:
    clean, *attacked = session(4).suite("standard", epsilon=4 / 255)
    threats = {it.threat for it in made(rc.Results(attacked))}
    assert threats == {ThreatModel("linf", 4 / 255)}
    # A budget of 4 grey levels closes a gap of 8: no image changes; one of 8 closes 16 and changes a third.
    assert clean.met == 12 and {record.met for record in attacked[:3]} == {12}
    by_default = session(4).suite("standard", norms=["linf"])
    assert {it.threat for it in made(by_default)} == {ThreatModel("linf", 8 / 255)}
    assert min(record.met for record in by_default) == 8


def test_several_budgets_are_measured_one_after_the_other_in_the_norms_that_were_named() -> None:
    found = session(4).suite("paper", norms=["l2", "linf"], epsilon=[0.25, 0.125])
    threats = list(dict.fromkeys(it.threat for it in made(found)))
    assert threats == [ThreatModel(norm, size) for norm in ("l2", "linf") for size in (0.25, 0.125)]


def test_the_curve_of_a_suite_goes_with_its_own_budgets() -> None:
    found = session(2).suite("full", epsilon=12 / 255)
    assert {it.threat.epsilon for it in made(found)} == {12 / 255}
    assert min(record.met for record in found) == 2  # 24 levels close gaps of 10 and 20


@pytest.mark.parametrize(
    ("channels", "name", "notes", "attacks"),
    [
        (2, "standard", ["Left out for a model of 2 classes: apgd-t:steps=20:targets=3 (needs 4 classes)."], 3),
        (3, "standard", ["Left out for a model of 3 classes: apgd-t:steps=20:targets=3 (needs 4 classes)."], 3),
        (2, "full", [f"Left out for a model of 2 classes: {NEED_THREE}, {NEED_FOUR}."], 4),
        (3, "full", [f"Left out for a model of 3 classes: {NEED_FOUR}."], 5),
        (4, "standard", [], 4),
        (2, "paper", [], 1),
    ],
)
def test_attacks_that_need_more_classes_are_left_out_and_named(
    channels: int, name: str, notes: list[str], attacks: int
) -> None:
    told: list[str] = []
    clean, *attacked = session(channels, told).suite(name, epsilon=8 / 255)
    assert [it for it in told if "classes" in it] == notes
    assert clean.met == 3 * channels
    # A budget of 8 grey levels closes a gap of 16, so the third with a gap of 10 changes, under every attack or all.
    assert min(record.met for record in attacked) == 2 * channels
    assert not any(step.classes > channels for it in made(rc.Results(attacked)) for step in it.steps)
    (table,) = worst_case_tables([clean, *attacked])
    count = table.rows[-1][3]
    assert count == attacks == len(attacked)


@pytest.mark.parametrize(
    ("step", "channels", "sentence"),
    [
        (AttackStep.of("apgd-t"), 3, "The attack apgd-t needs at least 4 classes, but the model has 3: leave it out."),
        (AttackStep.of("autoattack-port"), 2, "autoattack-port needs at least 4 classes, but the model has 2"),
        (AttackStep.of("pgd", loss="dlr"), 2, "pgd:loss=dlr needs at least 3 classes, but the model has 2"),
        (AttackStep.of("apgd", loss="dlr"), 2, "apgd:loss=dlr needs at least 3 classes, but the model has 2"),
    ],
)
def test_an_attack_that_was_named_is_refused_before_anything_is_written(
    step: AttackStep, channels: int, sentence: str
) -> None:
    request = AttackRequest(steps=(step,), threats=(ThreatModel("linf", 0.1),))
    with pytest.raises(AttackError, match=sentence):
        session(channels).attack(request=request)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("norm", "epsilon", "meant"), [("linf", 8, "8/255"), ("l2", 128, "128/255"), ("l2", 64.0, "64/255")]
)
def test_budgets_in_grey_levels_are_refused_with_what_was_meant(norm: str, epsilon: float, meant: str) -> None:
    opened = session(2)
    with pytest.raises(AttackError, match=f"did you mean {meant}"):
        opened.attack(norm=norm, epsilon=epsilon)  # type: ignore[arg-type]
    with pytest.raises(AttackError, match=f"did you mean {meant}"):
        opened.suite("paper", norms=[norm], epsilon=epsilon)  # type: ignore[list-item]
    with pytest.raises(AttackError, match=f"did you mean {meant}"):
        opened.uap(threats=[ThreatModel(norm, epsilon)], crafting=None)  # type: ignore[arg-type]
    assert not Path("runs").exists()


def test_noise_stronger_than_the_image_is_refused_with_what_was_meant() -> None:
    with pytest.raises(AttackError, match=r"did you mean 0\.05\?"):
        session(2).random_noise(rhos=[0.1, 5])
    assert not Path("runs").exists()


def test_a_surrogate_needs_transfer_attacks_in_the_suite() -> None:
    first = session(2)
    with pytest.raises(PolicyError, match="This suite has no transfer attacks"):
        first.suite("paper", surrogate=first, epsilon=0.1)


def test_of_several_policies_the_one_that_is_named_is_saved() -> None:
    plain = Measurement(
        subject=Subject(run="r", model="m", weights="5d"),
        images=Images(dataset="d", split="test", fingerprint="feed", count=10),
        perturbation=Clean(),
        policy=Blind(fit="1a"),
    )
    lines = replace(plain, policy=Adaptive(scope=Scope.IMAGE, fit="2b"))
    adapted = replace(plain, policy=Adapted(by=BatchStatistics(), policy=Blind(fit="1a")))
    assert _saved_of([lines, plain], "blind") == plain and _saved_of([lines], "") == lines
    for made, saving, message in (
        ([lines, plain], "", "meets adaptive-image, blind: choose one, such as --lambda adaptive-image"),
        ([lines], "blind", "blind is not among .*: write --lambda adaptive-image"),
        ([plain, adapted], "", "write one --test-time"),
        ([plain, adapted], "blind", "write one --test-time"),
    ):
        with pytest.raises(PolicyError, match=message):
            _saved_of(made, saving)
