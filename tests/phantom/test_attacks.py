"""Steps of attacks stay on the device, and those that are ours wait for nothing in it."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks import guard
from robustcsc.attacks.catalog import craft
from robustcsc.attacks.universal import _moved
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.models.catalog import build, default_spec
from tests.phantom.device import MixedDevicesError, PhantomTensor, Wait, moved, on_phantom, watched

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _one_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device has no random numbers of its own."""
    seeded = guard.seeded
    monkeypatch.setattr(guard, "seeded", lambda seed, device: seeded(seed, torch.device("cpu")))


def digits() -> nn.Module:
    torch.manual_seed(0)
    return build(default_spec("sdnet-digits", 10, (1, 8, 8))).eval()


def waits_of(step: AttackStep, norm: Norm) -> Counter[Wait]:
    """What an attack waits for; its result is that of the host."""
    model = digits()
    labels = model(IMAGES).argmax(1).detach()
    threat = ThreatModel(norm, 0.3 if norm == "linf" else 1.5)
    expected = craft(step, model, IMAGES, labels, threat, seed=1)
    waits: list[Wait] = []
    shown, there = on_phantom(IMAGES), on_phantom(labels)
    with watched(waits):
        found = craft(step, moved(model), shown, there, threat, seed=1)
    assert isinstance(found, PhantomTensor)
    torch.testing.assert_close(found.host, expected, rtol=0, atol=1e-6)
    return Counter(waits)


#: What torchattacks itself waits for, by attack and function; that is out of our hands.
THEIRS = {
    "apgd": {"apgd.attack_single_run"},
    "apgd-t": {"apgd.attack_single_run"},
    "autoattack-port": {"apgd.attack_single_run", "apgd.perturb", "multiattack.forward"},
    "cw": {"cw.forward"},
    "fab": {
        "fab.attack_single_run",
        "fab.get_diff_logits_grads_batch",
        "fab.projection_l2",
        "fab.projection_linf",
    },
    "square": {
        "square.attack_single_run",
        "square.eta",
        "square.eta_rectangles",
        "square.margin_and_loss",
        "square.random_choice",
        "square.random_int",
    },
}
#: What an attack waits for once, whatever its steps: its images, labels and first logits, and at its end, whether all
#: that it saw was finite; and which images are misclassified already, if those are left out.
ONCE = {"threat.<genexpr>", "logits.finite_logits", "guard.checked", "guard.strongest"}
#: What ours wait for in each step, where images leave a batch once they are misclassified; for each class for apgd-t.
SHRINKING = {
    "apgd-t": {"adaptive_pgd.attempt"},
    "deepfool": {"deepfool.search_boundary", "deepfool._nearest_boundary", "minimum_norm.attempt"},
}

STEPS: dict[tuple[str, Norm], tuple[AttackStep, ...]] = {
    ("fgsm", "linf"): (AttackStep(name="fgsm"),),
    ("pgd", "linf"): tuple(AttackStep(name="pgd", settings=(("steps", steps),)) for steps in (2, 5)),
    ("pgd", "l2"): tuple(AttackStep(name="pgd", settings=(("steps", steps),)) for steps in (2, 5)),
    ("apgd", "linf"): tuple(AttackStep(name="apgd", settings=(("steps", steps),)) for steps in (2, 5)),
    ("apgd", "l2"): (AttackStep(name="apgd", settings=(("steps", 3),)),),
    ("apgd-t", "linf"): tuple(AttackStep(name="apgd-t", settings=(("steps", it), ("targets", 2))) for it in (2, 5)),
    ("fab", "linf"): (AttackStep(name="fab", settings=(("steps", 3),)),),
    ("fab", "l2"): tuple(AttackStep(name="fab", settings=(("steps", steps),)) for steps in (2, 5)),
    ("cw", "l2"): tuple(AttackStep(name="cw", settings=(("searches", it), ("steps", it))) for it in (2, 4)),
    ("deepfool", "l2"): tuple(AttackStep(name="deepfool", settings=(("steps", steps),)) for steps in (2, 5)),
    ("square", "linf"): tuple(AttackStep(name="square", settings=(("queries", it),)) for it in (2, 5)),
    ("autoattack-port", "linf"): (AttackStep(name="autoattack-port"),),
}


QUICK = {("fgsm", "linf"), ("pgd", "linf"), ("pgd", "l2"), ("apgd", "linf")}


@pytest.mark.parametrize(
    ("name", "norm"), [pytest.param(*it, marks=[] if it in QUICK else pytest.mark.slow) for it in STEPS]
)
def test_our_part_of_an_attack_waits_once(name: str, norm: Norm) -> None:
    found = [waits_of(step, norm) for step in STEPS[name, norm]]
    shrinking = SHRINKING.get(name, set())
    for waits in found:
        assert {wait.place for wait in waits} - ONCE - shrinking <= THEIRS.get(name, set())
    for place in ONCE:
        counts = {sum(count for wait, count in waits.items() if wait.place == place) for waits in found}
        assert len(counts) == 1 or (name in SHRINKING and place == "guard.checked"), place


def test_a_restart_waits_for_the_images_that_are_better_and_those_that_are_left() -> None:
    settings = (("steps", 2),)
    two, three = (waits_of(AttackStep(name="pgd", settings=settings, restarts=it), "linf") for it in (2, 3))
    assert {wait.place for wait in three} <= ONCE
    strongest = "guard.strongest"
    assert three - two == Counter([Wait("nonzero", strongest), Wait("index", strongest)])


@pytest.mark.parametrize("fault", ["cpu()", "a tensor of the host"])
def test_a_fault_planted_in_a_step_is_found(fault: str) -> None:
    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.calls = digits(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            logits: Tensor = self.model(images)
            if self.calls < 4:
                return logits
            return logits * torch.ones(10) if fault == "a tensor of the host" else logits.cpu().to(images.device)

    model, labels = moved(Faulty()), torch.zeros(3, dtype=torch.int64)
    waits: list[Wait] = []
    step, threat = AttackStep(name="pgd", settings=(("steps", 5),)), ThreatModel("linf", 0.1)
    error = pytest.raises(MixedDevicesError) if fault == "a tensor of the host" else nullcontext()
    with error, watched(waits):
        craft(step, model, on_phantom(IMAGES), on_phantom(labels), threat, seed=1)
    assert fault != "cpu()" or any(wait.place == "test_attacks.forward" for wait in waits)


def test_a_step_of_a_universal_perturbation_waits_for_its_images_only() -> None:
    threat, model = ThreatModel("linf", 0.1), digits()
    clean = model(IMAGES).argmax(1)
    nothing = torch.zeros(1, 8, 8)
    expected = _moved(model, IMAGES, clean, nothing, threat, reselect=False)
    waits: list[Wait] = []
    shown, answered, start = (on_phantom(it) for it in (IMAGES, clean, nothing))
    with watched(waits):
        found = _moved(moved(model), shown, answered, start, threat, reselect=False)
    assert isinstance(found, PhantomTensor)
    torch.testing.assert_close(found.host, expected, rtol=0, atol=1e-6)
    assert {wait.place for wait in waits} - ONCE <= {
        "deepfool._nearest_boundary",
        "deepfool.search_boundary",
        "universal._moved",
        "universal.project",
    }
