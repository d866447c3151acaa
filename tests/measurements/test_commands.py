"""The words that repeat a measurement, for each kind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.measurements.adaptations import BatchStatistics, Order
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.commands import command_of, joined_commands
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
    FixedLambda,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Location, Measurement, Metric, Record, Subject
from robustcsc.measurements.threats import ThreatModel

TRAIN, IMAGE = TrainingLambda(), Adaptive(scope=Scope.IMAGE, fit="0123456789ab")
LINF, L2 = ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5)
TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
FOG = Corruption(name="fog", severity=3, table=TABLE)
PGD, FGSM = AttackStep.of("pgd"), AttackStep.of("fgsm")
CRAFTING = Crafting(images="feed", count=400, delta=0.2, passes=5, batch_size=25, seed=2)
OTHER = Surrogate(model="resnet18", weights="cd")


def record(
    perturbation: Perturbation,
    policy: Policy = TRAIN,
    *,
    location: Location | None = None,
    batch_size: int | None = None,
    model: str = "sdnet18",
    count: int = 100,
    metric: Metric = Metric.ACCURACY,
) -> Record:
    measurement = Measurement(
        subject=Subject(run="r", model=model, weights="ab"),
        images=Images(dataset="cifar10", split="test", fingerprint="feed", count=count),
        perturbation=perturbation,
        policy=policy,
        metric=metric,
        batch_size=batch_size,
    )
    provenance = Provenance(device="cpu", versions={"torch": "2"})
    return Record(measurement=measurement, met=1, total=count, provenance=provenance, location=location or Location())


def attack(
    *steps: AttackStep, threat: ThreatModel = LINF, protocol: Protocol = Protocol.PLAIN, seed: int = 0
) -> Attack:
    return Attack(steps=steps or (PGD,), threat=threat, protocol=protocol, seed=seed)


@pytest.mark.parametrize(
    ("made", "policy", "words"),
    [
        (Clean(), NoLambda(), "evaluate --run r"),
        (Clean(), FixedLambda(1 / 31), "evaluate --run r --lambda fixed=0.03225806451612903"),
        (FOG, TRAIN, "sweep --run r --spec cifar10_c --float --corruptions fog --severities 3 --lambda train"),
        (
            replace(FOG, pixels=Pixels.BYTES, seed=4),
            IMAGE,
            "sweep --run r --spec cifar10_c --seed 4 --corruptions fog --severities 3 --lambda adaptive-image",
        ),
        (attack(), TRAIN, "attack --run r --norm linf --attack pgd --epsilon 8/255 --protocols plain"),
        (
            attack(AttackStep.of("pgd", steps=40, restarts=2), threat=L2, protocol=Protocol.ADAPTIVE, seed=7),
            IMAGE,
            "attack --run r --norm l2 --seed 7 --attack pgd:steps=40:restarts=2 --epsilon 0.5 --protocols adaptive",
        ),
        (
            attack(FGSM, PGD),
            TRAIN,
            "attack --run r --norm linf --attack fgsm,pgd --in-turn --epsilon 8/255 --protocols plain",
        ),
        (
            attack(protocol=Protocol.STATIC),
            Oracle(),
            "attack --run r --norm linf --attack pgd --epsilon 8/255 --protocols tuned",
        ),
        (
            attack(protocol=Protocol.FIXED),
            FixedLambda(0.5),
            "attack --run r --norm linf --protocols fixed --attack pgd --epsilon 8/255 --lambdas 0.5",
        ),
        (
            attack(protocol=Protocol.GRID),
            WorstOf((0.1, 1 / 31)),
            "attack --run r --norm linf --protocols grid --lambdas 0.1,0.03225806451612903 --attack pgd "
            "--epsilon 8/255",
        ),
        (
            MinimalBudget(step=FGSM, threat=L2, protocol=Protocol.PLAIN),
            TRAIN,
            "attack --run r --min-epsilon --norm l2 --attack fgsm --epsilon 0.5 --protocols plain",
        ),
        (
            Universal(threat=LINF, protocol=Protocol.STATIC, crafting=CRAFTING),
            Adaptive(scope=Scope.DATASET, fit="a"),
            "uap --run r --norm linf --delta 0.2 --passes 5 --crafting-images 400 --batch-size 25 --seed 2 --seeds 0 "
            "--xi 8/255 --protocols static",
        ),
        (
            RandomControl(name="gaussian", threat=L2, protocol=Protocol.PLAIN, seed=1),
            TRAIN,
            "uap --run r --only-controls --norm l2 --seed 1 --seeds 1 --xi 0.5 --protocols plain",
        ),
        (RandomNoise(rho=0.05), TRAIN, "random-noise --run r --seeds 1 --rho 0.05 --lambda train"),
    ],
)
def test_each_kind_has_its_command(made: Perturbation, policy: Policy, words: str) -> None:
    assert " ".join(command_of(record(made, policy)).words) == words


def test_images_and_models_are_found_again() -> None:
    location = Location(data="imagefolder", root="/data/my images", image_size=64, class_order="text", limit=200)
    made = record(Clean(), location=location, batch_size=10, model="mine:network", count=200)
    assert command_of(made).words == [
        *("evaluate", "--run", "r", "--model", "mine:network", "--data", "imagefolder", "--root", "/data/my images"),
        *("--image-size", "64", "--class-order", "text", "--limit", "200", "--batch-size", "10", "--lambda", "train"),
    ]


def test_attacks_on_more_images_than_commands_take_name_their_number() -> None:
    for made in (attack(), RandomNoise(rho=0.1)):
        assert "--limit 1001" in " ".join(command_of(record(made, count=1001)).words)
        assert "--limit" not in command_of(record(made, count=1000)).words
    assert "--limit" not in command_of(record(FOG, count=10_000)).words


@pytest.mark.parametrize(
    ("made", "location", "words"),
    [
        (FOG, Location(table="my.toml", frost_root="photos"), "--spec my.toml --frost-root photos --float"),
        (
            replace(FOG, source=Source.EXPORTED, pixels=Pixels.JPEG, seed=3),
            Location(files="exported"),
            "--corrupted-root exported",
        ),
        (
            replace(FOG, source=Source.OFFICIAL, pixels=Pixels.BYTES, files="fed"),
            Location(files="CIFAR-10-C"),
            "--corrupted-root CIFAR-10-C --spec cifar10_c",
        ),
        (
            replace(FOG, source=Source.EXPORTED, pixels=Pixels.BYTES),
            Location(files="exported", table="my.toml"),
            "--corrupted-root exported --spec my.toml",
        ),
    ],
)
def test_corruptions_are_found_again(made: Corruption, location: Location, words: str) -> None:
    command = command_of(record(made, location=location))
    assert " ".join(command.words) == f"sweep --run r {words} --corruptions fog --severities 3 --lambda train"


def test_images_of_other_models_are_found_again() -> None:
    transfer = replace(attack(protocol=Protocol.TRANSFER), surrogate=OTHER)
    words = command_of(record(transfer, location=Location(source_run="other"), batch_size=250)).words
    assert " ".join(words) == (
        "attack --run r --batch-size 250 --norm linf --from other --attack pgd --epsilon 8/255 --protocols transfer"
    )
    # A run that other attacks of the same command were crafted on has no part in a plain one.
    assert "--from" not in command_of(record(attack(), location=Location(source_run="other"))).words
    saved = replace(attack(), saved=SavedImages(crafted_on=OTHER, digest="ef"))
    words = command_of(record(saved, location=Location(files="kept.safetensors"))).words
    assert " ".join(words) == "attack --run r --score kept.safetensors --lambda train"


def test_records_that_differ_in_lists_only_are_repeated_by_one_command() -> None:
    policies = (TRAIN, FixedLambda(0.5))
    names = ("snow", "fog")
    made = [
        record(replace(FOG, name=name, severity=severity), policy)
        for name in names
        for severity in (3, 1)
        for policy in policies
    ]
    ((command, members),) = joined_commands(made)
    assert members == made
    assert " ".join(command.words) == (
        "sweep --run r --spec cifar10_c --float --corruptions fog,snow --severities 1,3 --lambda fixed=0.5,train"
    )


def test_budgets_lambdas_and_rhos_are_joined_in_order_of_size() -> None:
    fixed = [
        record(attack(threat=ThreatModel("linf", size), protocol=Protocol.FIXED), FixedLambda(lam))
        for size in (8 / 255, 2 / 255)
        for lam in (1.5, 0.1)
    ]
    ((command, _),) = joined_commands(fixed)
    assert command.words[-4:] == ["--epsilon", "2/255,8/255", "--lambdas", "0.1,1.5"]
    ((command, _),) = joined_commands([record(RandomNoise(rho=rho)) for rho in (0.1, 0.02, 10.0)])
    assert command.words[-4:-2] == ["--rho", "0.02,0.1,10"]


def test_records_in_bfloat16_are_repeated_in_it_and_by_themselves() -> None:
    made = record(FOG)
    reduced = replace(made, measurement=replace(made.measurement, precision="bf16"))
    words = "--spec cifar10_c --float --corruptions fog --severities 3 --lambda train"
    assert " ".join(command_of(reduced).words) == f"sweep --run r --precision bf16 {words}"
    ((plain, first), (other, second)) = joined_commands([made, reduced])
    assert (first, second) == ([made], [reduced])
    assert (" ".join(plain.words), other.words) == (f"sweep --run r {words}", command_of(reduced).words)


def test_adaptations_at_test_time_are_repeated_by_commands_of_their_own() -> None:
    made = record(FOG)
    by = BatchStatistics(batch=16, order=Order.CLASS)
    adapted = replace(made, measurement=replace(made.measurement, policy=Adapted(by=by, policy=TrainingLambda())))
    words = command_of(adapted).words
    assert words[words.index("--test-time") + 1] == "bn:batch=16:order=class"
    assert [members for _, members in joined_commands([made, adapted])] == [[made], [adapted]]


def test_records_of_other_settings_have_commands_of_their_own() -> None:
    metrics = [record(RandomNoise(rho=0.1, seed=1), metric=metric) for metric in Metric]
    others = [record(attack()), record(attack(threat=L2)), record(attack(seed=1)), record(attack(FGSM, PGD))]
    made = [*metrics, *others, record(Clean())]
    commands = joined_commands(made)
    assert [len(members) for _, members in commands] == [len(metrics), 1, 1, 1, 1, 1]
    assert [each for _, members in commands for each in members] == made


def test_attacks_without_gradients_have_a_command_of_their_own() -> None:
    square = attack(AttackStep.of("square", queries=300), protocol=Protocol.BLACK_BOX)
    made = [record(attack()), record(square), record(attack(FGSM))]
    typed = [" ".join(command.words) for command, _ in joined_commands(made)]
    assert typed == [
        "attack --run r --norm linf --attack fgsm,pgd --epsilon 8/255 --protocols plain",
        "attack --run r --norm linf --protocols black-box --attack square:queries=300 --epsilon 8/255",
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_record_belongs_to_one_joined_command(data: st.DataObject, records: st.SearchStrategy[Record]) -> None:
    made = data.draw(st.lists(records, max_size=5))
    joined = joined_commands(made)
    assert sorted(map(repr, made)) == sorted(repr(each) for _, members in joined for each in members)
    for command, members in joined:
        for member in members:
            own = command_of(member)
            assert (own.name, own.options.keys()) == (command.name, command.options.keys())
            for option, value in own.options.items():
                shared = command.options[option]
                assert value == shared if isinstance(value, str) else set(value) <= set(shared)
