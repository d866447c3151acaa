"""The command that repeats a record finds it in the store, for records of every kind."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from robustcsc import runs
from robustcsc.cli import main as cli_main
from robustcsc.data import ImageSet, load
from robustcsc.evaluation.plan import Cell
from robustcsc.evaluation.sources import images_fact
from robustcsc.measurements.attacks import ATTACKS, AttackStep
from robustcsc.measurements.commands import command_of, joined_commands
from robustcsc.measurements.facts import replace as replace_fact
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
    Universal,
)
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Policy, Scope, TrainingLambda, WorstOf
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Measurement, Metric, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import LARGEST_L2, ThreatModel
from robustcsc.runs import Run
from robustcsc.session.measuring import Results
from robustcsc.session.opening import open as open_session
from robustcsc.session.session import Session

pytestmark = pytest.mark.usefixtures("undrawn", "unchecked")

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

FIT = "fit-lambda --run sdnet --limit 40 --grid 0.1,0.4 --noise"
FEW = "--run sdnet --limit 10"

#: Commands whose records are repeated: what takes a second or two, and the rest.
QUICK = {
    "clean, every policy": [
        f"{FIT} gaussian",
        f"evaluate {FEW} --lambda train,adaptive,adaptive-image,oracle,fixed=0.3",
        f"evaluate {FEW} --batch-size 3 --lambda adaptive-batch",
    ],
    "clean, all images": ["evaluate --run sdnet"],
    "corruptions in 8 bits with a seed": [
        f"sweep {FEW} --corruptions gaussian_noise,contrast --severities 2,4 --seed 7 --lambda train,fixed=1"
    ],
    "exported files": [
        "data corrupt --data digits --limit 10 --corruptions gaussian_noise --seed 3 --out files",
        f"sweep {FEW} --corruptions gaussian_noise --severities 1,5 --corrupted-root files",
    ],
    "attacks that meet lambda in their own ways": [
        f"{FIT} gaussian",
        f"attack {FEW} --steps 1 --epsilon 1/31 --seed 2 --batch-size 4 --lambdas 0.1,0.3 "
        "--protocols plain,static,adaptive,fixed,grid",
    ],
    "bfloat16": [
        f"{FIT} gaussian --precision bf16",
        f"evaluate {FEW} --precision bf16 --lambda train,adaptive",
        f"attack {FEW} --steps 1 --precision bf16 --protocols plain,adaptive --batch-size 6",
    ],
    "batches as large as memory allows": [f"evaluate {FEW} --batch-size auto --lambda train,fixed=1"],
    "attacks in turn": [f"attack {FEW} --attack fgsm,pgd:steps=1:restarts=2 --epsilon 3/254 --in-turn"],
    "smallest budgets": [f"attack {FEW} --min-epsilon --attack fgsm --epsilon 0.2 --seed 1"],
    "saved images": [
        f"attack {FEW} --steps 1 --protocols plain --save kept.safetensors --batch-size 6",
        "attack --run sdnet --score kept.safetensors --lambda train,fixed=0.5",
        "attack --run resnet --score kept.safetensors",
    ],
    "universal perturbations and their controls": [
        f"uap {FEW} --norm l2 --xi 1/3,1.5 --delta 0.3 --passes 1 --crafting-images 12 "
        "--batch-size 5 --seed 4 --seeds 2"
    ],
    "random noise": [f"random-noise {FEW} --rho 0.1,1/31 --seeds 2 --seed 5 --lambda train,fixed=0.5"],
}
SLOW = {
    "corruptions of every policy and seed": [
        f"{FIT} all",
        *(f"sweep {FEW} --corruptions noise,contrast --lambda train,adaptive,oracle --seed {seed}" for seed in (0, 1)),
        f"sweep {FEW} --corruptions speckle_noise --lambda adaptive-batch,adaptive-image --batch-size 3",
    ],
    "corruptions of a table of one's own, of a folder": [
        "sweep --run sdnet --data imagefolder --root images --image-size 8 --spec own.toml --frost-root photos",
        "data corrupt --data imagefolder --root images --image-size 8 --spec own.toml --out files",
        "sweep --run sdnet --data imagefolder --root images --image-size 8 --spec own.toml --corrupted-root files "
        "--corruptions snowflakes",
    ],
    "published files": [
        "sweep --run sdnet --corrupted-root published --corruptions gaussian_noise --severities 2 --limit 10",
        "sweep --run sdnet --corrupted-root published --corruptions gaussian_noise --severities 1,3 --lambda fixed=0.3",
    ],
    "attacks of every kind": [
        f"{FIT} gaussian",
        *(
            f"attack {FEW} --attack {attack} --norm {norm} --epsilon 3/254,1/31 --batch-size {size} --protocols plain"
            for norm, attack, size in (
                ("linf", "fgsm,pgd:steps=2:loss=dlr,apgd:steps=2,fab:steps=2", 250),
                ("l2", "pgd:step_size=0.07,apgd-t:steps=2:targets=2,deepfool:steps=3:overshoot=0.05", 7),
                ("l2", "cw:steps=3:searches=2:rate=0.1,square:queries=7:restarts=2", 250),
            )
        ),
        f"attack {FEW} --steps 2 --step-size 2/255 --restarts 3 --seed 9",
        f"attack {FEW} --steps 1 --protocols tuned,fixed,grid",
    ],
    "attacks of other models and without gradients": [
        f"{FIT} pooled",
        f"attack {FEW} --steps 2 --from resnet --protocols plain,transfer",
        f"attack {FEW} --attack square --queries 4 --protocols black-box,plain",
        f"attack {FEW} --attack fgsm,pgd --steps 1 --in-turn --protocols adaptive,static,fixed,grid --lambdas 0.2,1/3",
        f"attack {FEW} --min-epsilon --steps 2 --restarts 2 --protocols plain,adaptive,fixed --lambdas 0.1,0.4",
        "attack --run resnet --limit 10 --steps 1 --from sdnet",
    ],
    "a suite": [f"{FIT} pooled", f"attack {FEW} --suite standard --norm l2 --from resnet --seed 3"],
    "saved images of every protocol": [
        f"{FIT} gaussian",
        f"attack {FEW} --steps 1 --protocols adaptive --save one.safetensors",
        f"attack {FEW} --steps 1 --protocols transfer --from resnet --save two.safetensors --epsilon 1/31",
        "attack --run sdnet --score one.safetensors --lambda adaptive,adaptive-batch,adaptive-image,oracle",
        "attack --run resnet --score two.safetensors",
    ],
    "universal perturbations of every protocol": [
        f"{FIT} gaussian",
        f"uap {FEW} --passes 1 --crafting-images 15 --protocols plain,static,adaptive --xi 3/254 --seeds 1 --seed 11",
        f"uap {FEW} --only-controls --norm l2 --xi 1.5 --seeds 2",
    ],
    "random noise under every policy": [
        f"{FIT} gaussian",
        f"random-noise {FEW} --rho 0.01:0.05:0.02 --seeds 1 --lambda train,adaptive,adaptive-image,fixed=0.1",
        f"random-noise {FEW} --rho 0.5/255 --seeds 1 --lambda adaptive-batch --batch-size 4",
    ],
    "a model of one's own": [
        "evaluate --model own_model:linear --weights own.pth --data digits --limit 10",
        "attack --model own_model:linear --steps 1 --limit 10",
    ],
}


@dataclass(frozen=True)
class Stored:
    """What a store holds: an id, the time and the record of each row."""

    rows: tuple[tuple[int, str, str], ...]

    @classmethod
    def of(cls, run: Run) -> Stored:
        with sqlite3.connect(run.store_path) as connection:
            rows = connection.execute("SELECT id, created, record FROM records ORDER BY id").fetchall()
        connection.close()
        return cls(tuple(rows))


@pytest.fixture
def material(place: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs and whatever else the commands read.

    An image folder of ten classes, a severity table and photographs of frost, files as they are published, and a model.
    """
    import torch

    digits = load("digits")
    (place / "published").mkdir()
    np.save(place / "published/labels.npy", digits.labels.repeat(5).numpy())
    np.save(
        place / "published/gaussian_noise.npy", np.arange(5 * len(digits) * 64, dtype=np.uint8).reshape(-1, 8, 8, 1)
    )
    make_run("sdnet", "sdnet-digits")
    make_run("resnet", "resnet-digits")
    for label in range(10):
        for number in range(2):
            path = place / f"images/test/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * label + number).save(path)
    frost = "{ image_weight = 0.5, frost_weight = 0.5, texture_scale = 1 }"
    entries = {"snowflakes": ("impulse_noise", "{ share = 0.1 }"), "rime": ("frost", frost)}
    (place / "own.toml").write_text(
        '[benchmark]\nimage_size = 8\nsource = "here"\n'
        + "".join(
            f'[{name}]\nkernel = "{kernel}"\ngroup = "noise"\nstandard = true\nlevels = [{", ".join([level] * 5)}]\n'
            for name, (kernel, level) in entries.items()
        )
    )
    (place / "photos").mkdir()
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        Image.new("RGB", (64, 64), (100, 100, 100)).save(place / "photos" / name)
    (place / "own_model.py").write_text(
        "from torch import nn\n\n\ndef linear():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    torch.save({"1.weight": torch.randn(10, 64), "1.bias": torch.zeros(10)}, place / "own.pth")
    monkeypatch.delitem(sys.modules, "own_model", raising=False)


def repeat_all(
    commands: Sequence[str], robustcsc: Command, monkeypatch: pytest.MonkeyPatch, *, joined: bool = False
) -> None:
    """Runs commands, then those that repeat each of their records, in which nothing may be measured.

    Args:
        commands: What to measure.
        robustcsc: Runs a command line.
        monkeypatch: Takes the evaluator away.
        joined: Whether records that differ in lists only are every combination of their values, so that the commands
            that repeat many at once measure nothing either.
    """
    for typed in commands:
        done = robustcsc(typed)
        assert done.code == 0, (typed, done.err)
    measured = [run for run in runs.existing() if run.store_path.exists()]
    assert measured
    before = {run.name: Stored.of(run) for run in measured}

    def measure(_: object, cell: Cell, *__: object) -> None:
        pytest.fail(f"measured again: {cell}")

    monkeypatch.setattr("robustcsc.evaluation.measure.Evaluator.measure", measure)
    for run in measured:
        with ResultStore(run.store_path, read_only=True) as store:
            records = store.records()
        repeating = {tuple(command_of(record).words) for record in records}
        repeating |= {tuple(command.words) for command, _ in joined_commands(records)} if joined else set()
        for words in sorted(repeating):
            done = robustcsc(*words)
            assert done.code == 0, (words, done.err)
    assert {run.name: Stored.of(run) for run in measured} == before


@pytest.mark.parametrize("commands", QUICK.values(), ids=QUICK)
def test_the_command_that_repeats_a_record_finds_it(
    commands: list[str], few_digits: None, material: None, robustcsc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_all(commands, robustcsc, monkeypatch, joined=True)


@pytest.mark.slow
@pytest.mark.parametrize("commands", SLOW.values(), ids=SLOW)
def test_the_command_that_repeats_a_record_of_any_settings_finds_it(
    commands: list[str], few_digits: None, material: None, robustcsc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_all(commands, robustcsc, monkeypatch)


SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.integers(1, 1000)
NUMBERS = st.floats(0, 1e6) | st.sampled_from([0.1, 0.1 + 0.2, 1 / 31, 8 / 255, 0.5 / 255])
SHARES = st.floats(0, 1) | st.sampled_from([0.1, 1 / 31, 0.5 / 255])
ABOVE_0 = st.floats(1e-6, 1) | st.sampled_from([1 / 31, 3 / 254, 8 / 255, 0.5 / 255])
THREATS = st.builds(ThreatModel, st.just("linf"), ABOVE_0) | st.builds(
    ThreatModel, st.just("l2"), ABOVE_0 | SIZES.filter(lambda epsilon: epsilon <= LARGEST_L2)
)
TRAIN, THROUGH, TUNED = TrainingLambda(), Adaptive(scope=Scope.IMAGE), Adaptive(scope=Scope.DATASET)
FIXED = st.builds(FixedLambda, NUMBERS)
POLICIES = st.sampled_from([TRAIN, *(Adaptive(scope=scope) for scope in Scope)]) | FIXED
#: The policies under which the attacks of a protocol are scored.
SCORED: dict[Protocol, st.SearchStrategy[Policy]] = {
    Protocol.PLAIN: st.just(TRAIN),
    Protocol.STATIC: st.sampled_from([TUNED, Oracle()]),
    Protocol.FIXED: FIXED,
    Protocol.ADAPTIVE: st.just(THROUGH),
    Protocol.GRID: st.lists(NUMBERS, min_size=1, max_size=4, unique=True).map(lambda it: WorstOf(tuple(it))),
    Protocol.TRANSFER: st.sampled_from([TRAIN, THROUGH]),
    Protocol.BLACK_BOX: st.just(THROUGH),
}
#: The same for universal perturbations.
FOOLED: dict[Protocol, Policy] = {Protocol.PLAIN: TRAIN, Protocol.STATIC: TUNED, Protocol.ADAPTIVE: THROUGH}


@dataclass(frozen=True)
class Asked:
    """Two sessions, and the measurements of the plans that commands hand to them."""

    sdnet: Session
    resnet: Session
    planned: list[Measurement]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Keeps plans instead of measuring them."""
    from robustcsc.corruptions import Spec, select
    from robustcsc.models import checkpoint
    from robustcsc.models.catalog import build, default_spec

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("asked"))
        spec = default_spec("resnet-digits", 10, (1, 8, 8))
        checkpoint.save(runs.create("resnet").weights_path, spec, build(spec), {"data": "digits", "root": None})
        sessions = {"sdnet": open_session("sdnet-digits"), "resnet": open_session("resnet")}
        sessions["sdnet"] = replace(sessions["sdnet"], run=Run(runs.RUNS / "sdnet"))
        sessions["sdnet"].fit_lambdas(["gaussian"], limit=20, grid=(0.1, 0.4))
        found = Asked(**sessions, planned=[])

        def opened(name: str, *, data: Any, measuring: Any, **_: object) -> Session:
            return replace(sessions[name], data=data, measuring=measuring)

        def chosen(_: ImageSet, table: Spec, names: str, *__: object, **___: object) -> list[str]:
            return select(table, names)

        def keep(_: object, __: object, plan: Any, **___: object) -> Results:
            found.planned.extend(each for chain in plan for cell in chain for each in cell.measurements)
            return Results(())

        patched.setattr("robustcsc.session.opening.open", opened)
        patched.setattr("robustcsc.session.session.Session.opened", lambda _, name: sessions[name])
        patched.setattr("robustcsc.session.session.chosen_corruptions", chosen)
        patched.setattr("robustcsc.session.session.Session.measured", keep)
        for module in ("evaluate", "attack", "uap"):
            patched.setattr(f"robustcsc.cli.commands.{module}.show_results", lambda *_: None)
        yield found


@st.composite
def steps(draw: st.DrawFn, threat: ThreatModel, *, gradients: bool = True, own_size: bool = True) -> AttackStep:
    """Any attack on a threat model, with any settings that have a meaning."""
    suiting = [name for name, it in ATTACKS.items() if threat.norm in it.norms and (gradients or not it.gradients)]
    kind = ATTACKS[name := draw(st.sampled_from(suiting))]
    values: dict[type, st.SearchStrategy[Any]] = {int: SIZES, str: st.sampled_from(["ce", "dlr"])}
    chosen = [it for it in kind.settings if (own_size or it != "step_size") and draw(st.booleans())]
    found = {setting: draw(values.get(type(kind.settings[setting]), ABOVE_0)) for setting in chosen}
    return AttackStep.of(name, restarts=draw(st.integers(1, 5)) if kind.random else 1, **found)


def perturbed(draw: Callable[[Any], Any], kind: type[Perturbation], asked: Asked) -> tuple[Perturbation, Policy]:
    """Returns any perturbation of a kind, with a policy that goes with it."""
    threat, seed, protocol = draw(THREATS), draw(SEEDS), draw(st.sampled_from(sorted(SCORED)))
    if kind is Clean:
        return Clean(), draw(POLICIES | st.just(Oracle()))
    if kind is Corruption:
        name = draw(st.sampled_from(["gaussian_noise", "frost", "jpeg_compression"]))
        made = Corruption(
            name=name, severity=draw(st.integers(1, 5)), table=asked.sdnet.severity_table().table, seed=seed
        )
        pixels = draw(st.sampled_from([Pixels.FLOAT, Pixels.BYTES]))
        return replace_fact(made, pixels=pixels), draw(POLICIES | st.just(Oracle()))
    if kind is Attack:
        alone = protocol in (Protocol.STATIC, Protocol.TRANSFER)
        each = steps(threat, gradients=protocol is not Protocol.BLACK_BOX)
        found = tuple(draw(st.lists(each, min_size=1, max_size=1 if alone else 3, unique=True)))
        other = asked.resnet.surrogate if protocol is Protocol.TRANSFER else None
        return Attack(steps=found, threat=threat, protocol=protocol, seed=seed, surrogate=other), draw(SCORED[protocol])
    if kind is MinimalBudget:
        protocol = draw(st.sampled_from([Protocol.PLAIN, Protocol.FIXED, Protocol.ADAPTIVE]))
        step = draw(steps(threat, own_size=False))
        return MinimalBudget(step=step, threat=threat, protocol=protocol, seed=seed), draw(SCORED[protocol])
    if kind is RandomNoise:
        return RandomNoise(rho=draw(SHARES), seed=seed), draw(POLICIES)
    protocol = draw(st.sampled_from(sorted(FOOLED)))
    if kind is RandomControl:
        name = draw(st.sampled_from(["random-sign", "gaussian"]))
        return RandomControl(name=name, threat=threat, protocol=protocol, seed=seed), FOOLED[protocol]
    images = asked.sdnet.images("train", draw(st.integers(1, 50)))
    crafting = Crafting(
        images=images.fingerprint,
        count=len(images),
        delta=draw(st.floats(0, 1, exclude_max=True)),
        passes=draw(SIZES),
        batch_size=draw(SIZES),
        seed=seed,
    )
    return Universal(threat=threat, protocol=protocol, crafting=crafting), FOOLED[protocol]


@pytest.mark.parametrize("kind", [Clean, Corruption, Attack, MinimalBudget, Universal, RandomControl, RandomNoise])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_measurement_as_a_command_is_that_measurement_again(
    kind: type[Perturbation], data: st.DataObject, asked: Asked
) -> None:
    made, policy = perturbed(data.draw, kind, asked)
    images = asked.sdnet.images(limit=data.draw(st.integers(1, 30)))
    batched = kind in (Attack, MinimalBudget) or policy == Adaptive(scope=Scope.BATCH)
    fooling = st.sampled_from([Metric.FOOLING, Metric.FOOLING_OF_CORRECT])
    measurement = Measurement(
        subject=asked.sdnet.model.subject,
        images=images_fact(images),
        perturbation=made,
        policy=asked.sdnet.model.facts.resolved(policy, made),
        metric=data.draw(fooling) if kind in (Universal, RandomControl, RandomNoise) else Metric.ACCURACY,
        batch_size=data.draw(SIZES) if batched else None,
    )
    record = Record(
        measurement=measurement,
        met=0,
        total=1,
        provenance=Provenance(device="cpu", versions={}),
        location=replace_fact(images.location, source_run="resnet"),
    )
    asked.planned.clear()
    assert cli_main.main(command_of(record).words) == 0
    assert measurement in asked.planned
