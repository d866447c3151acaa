"""Records of every kind, made tersely; `_record` says which arguments all makers share.

`clean(met=90, total=100, run="sdnet", policy="adaptive")`, `corruption("fog", 3, met=80)`,
`attack("pgd:steps=40", met=7, epsilon=0.5, norm="l2", protocol="static")`, `attack("pgd", "square", met=5)`
(the second on the images that the first one left), `minimal("pgd", ...)`, `universal(...)`,
`control("random-sign", ...)`, `random_noise(0.1, ...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from robustcsc.measurements import facts
from robustcsc.measurements.attacks import parse_step
from robustcsc.measurements.fits import LambdaFit, Line, NoiseLevel
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
from robustcsc.measurements.policies import Adaptive, NoLambda, Policy, parse_policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import (
    AttackDetails,
    BudgetDetails,
    CraftingDetails,
    Images,
    Location,
    Measurement,
    Metric,
    Outcomes,
    Precision,
    Record,
    Subject,
)
from robustcsc.measurements.threats import Norm, ThreatModel

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]

TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
VERSIONS = {"robustcsc": "0.1.0", "torch": "2.13.0", "python": "3.11.7"}
SURROGATE = Surrogate(model="resnet18", weights="4e" * 32)

RESNET = (7943, 5617, 3486, 2823, 2345)
TRAIN = (8178, 6350, 4386, 3584, 2792)
ADAPTIVE = (8476, 7487, 6138, 5477, 4884)
LAMBDAS = (0.49, 0.60, 0.75, 0.84, 0.94)


def _record(
    perturbation: Perturbation,
    *,
    met: int | None = None,
    total: int = 10000,
    run: str = "sdnet",
    model: str = "sdnet18",
    weights: str = "5d" * 32,
    dataset: str = "cifar10",
    split: str = "test",
    images: str = "0123456789abcdef",
    count: int | None = None,
    policy: Policy | str = "none",
    fit: str = "",
    metric: str = "accuracy",
    batch_size: int | None = None,
    precision: Precision = "fp32",
    lam: float | None = None,
    outcomes: Outcomes | Sequence[bool] | None = None,
    details: AttackDetails | BudgetDetails | CraftingDetails | None = None,
    location: Location | None = None,
    device: str = "cpu",
    versions: Mapping[str, str] = VERSIONS,
    seconds: float = 1.5,
    created: str = "2026-01-02T03:04:05+00:00",
) -> Record:
    """One record: `policy` as typed ("none" for no lambda); `count` is `total` by default; outcomes give the counts."""
    if outcomes is not None:
        outcomes = outcomes if isinstance(outcomes, Outcomes) else Outcomes.of(outcomes)
        met, total = outcomes.bits.bit_count(), outcomes.count
    assert met is not None
    chosen = policy if not isinstance(policy, str) else NoLambda() if policy == "none" else parse_policy(policy)
    if fit:
        assert isinstance(chosen, Adaptive)
        chosen = facts.replace(chosen, fit=fit)
    return Record(
        measurement=Measurement(
            subject=Subject(run=run, model=model, weights=weights),
            images=Images(dataset=dataset, split=split, fingerprint=images, count=total if count is None else count),
            perturbation=perturbation,
            policy=chosen,
            metric=Metric(metric),
            batch_size=batch_size,
            precision=precision,
        ),
        met=met,
        total=total,
        provenance=Provenance(device=device, versions=dict(versions), seconds=seconds, created=created),
        lam=lam,
        outcomes=outcomes,
        details=details,
        location=location or Location(),
    )


def _clean(**how: Any) -> Record:
    return _record(Clean(), **how)


def _corruption(
    name: str = "gaussian_noise",
    severity: int = 1,
    *,
    table: SeverityTable | str = TABLE,
    source: str = "generated",
    pixels: str = "8 bit",
    files: str = "",
    seed: int = 0,
    **how: Any,
) -> Record:
    """`table` may be given as ``"imagenet_c@99999999"``."""
    if isinstance(table, str):
        table = SeverityTable(name=table.partition("@")[0], digest=table.partition("@")[2] or "1a2b3c4d")
    made = Corruption(
        name=name,
        severity=severity,
        table=table,
        source=Source(source),
        pixels=Pixels(pixels),
        files=files,
        seed=seed,
    )
    return _record(made, **how)


def _attack(
    *steps: str,
    norm: Norm = "linf",
    epsilon: float = 8 / 255,
    protocol: str = "plain",
    seed: int = 0,
    surrogate: Surrogate | None = None,
    saved: SavedImages | None = None,
    **how: Any,
) -> Record:
    """Steps as typed, such as ``"pgd:steps=40:restarts=2"``; of none PGD."""
    made = Attack(
        steps=tuple(map(parse_step, steps or ("pgd",))),
        threat=ThreatModel(norm, epsilon),
        protocol=Protocol(protocol),
        seed=seed,
        surrogate=surrogate or (SURROGATE if protocol == "transfer" else None),
        saved=saved,
    )
    return _record(made, **how)


def _minimal(
    step: str = "pgd",
    *,
    norm: Norm = "linf",
    epsilon: float = 8 / 255,
    protocol: str = "plain",
    seed: int = 0,
    **how: Any,
) -> Record:
    made = MinimalBudget(
        step=parse_step(step), threat=ThreatModel(norm, epsilon), protocol=Protocol(protocol), seed=seed
    )
    return _record(made, **how)


CRAFTING = Crafting(images="fccf" * 4, count=1000, delta=0.2, passes=10, batch_size=25)


def _universal(
    *,
    norm: Norm = "linf",
    epsilon: float = 10 / 255,
    protocol: str = "plain",
    crafting: Mapping[str, Any] | None = None,
    **how: Any,
) -> Record:
    """`crafting` has the fields of `CRAFTING` that differ."""
    made = Universal(
        threat=ThreatModel(norm, epsilon),
        protocol=Protocol(protocol),
        crafting=facts.replace(CRAFTING, **(crafting or {})),
    )
    return _record(made, **({"metric": "fooling rate"} | how))


def _control(
    name: str = "random-sign",
    *,
    norm: Norm = "linf",
    epsilon: float = 10 / 255,
    protocol: str = "plain",
    seed: int = 0,
    **how: Any,
) -> Record:
    made = RandomControl(
        name="gaussian" if name == "gaussian" else "random-sign",
        threat=ThreatModel(norm, epsilon),
        protocol=Protocol(protocol),
        seed=seed,
    )
    return _record(made, **({"metric": "fooling rate"} | how))


def _random_noise(rho: float = 0.1, *, seed: int = 0, **how: Any) -> Record:
    return _record(RandomNoise(rho=rho, seed=seed), **({"metric": "fooling rate"} | how))


@pytest.fixture(scope="session")
def clean() -> RecordMaker:
    return _clean


@pytest.fixture(scope="session")
def corruption() -> RecordMaker:
    return _corruption


@pytest.fixture(scope="session")
def attack() -> RecordMaker:
    return _attack


@pytest.fixture(scope="session")
def minimal() -> RecordMaker:
    return _minimal


@pytest.fixture(scope="session")
def universal() -> RecordMaker:
    return _universal


@pytest.fixture(scope="session")
def control() -> RecordMaker:
    return _control


@pytest.fixture(scope="session")
def random_noise() -> RecordMaker:
    return _random_noise


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """The counts of SDNet's Table 2 on 10000 images, with clean and attacked records."""
    made = []
    resnet: dict[str, Any] = {"run": "resnet", "model": "resnet18", "weights": "4e" * 32, "policy": "none"}
    train: dict[str, Any] = {"policy": "train", "lam": 0.1}
    adaptive: dict[str, Any] = {"policy": "adaptive", "fit": "f00df00df00d"}
    for at in range(5):
        severity = at + 1
        noisy: dict[str, Any] = {"severity": severity}
        made.append(_corruption(**noisy, met=RESNET[at], **resnet))
        made.append(_corruption(**noisy, met=TRAIN[at], **train))
        made.append(_corruption(**noisy, met=ADAPTIVE[at], lam=LAMBDAS[at], **adaptive))
        made.append(_corruption(**noisy, met=ADAPTIVE[at] + 10, policy="oracle", lam=LAMBDAS[at]))
        for lam in (0.1, 0.5, 0.9):
            correct = round(9000 - 1000 * severity - 4000 * (lam - 0.2 * severity) ** 2)
            made.append(_corruption(**noisy, met=correct, policy=f"fixed={lam}", lam=lam))
    made.append(_clean(met=9520, **train))
    made.append(_clean(met=9500, lam=0.1, **adaptive))
    made.append(_clean(met=9530, **resnet))
    made.append(_attack(met=1, total=1000, **resnet))
    made.append(_attack(met=11, total=1000, **train))
    made.append(_attack(met=352, total=1000, protocol="static", lam=0.9, **adaptive))
    made.append(_attack(met=5, total=1000, protocol="adaptive", lam=0.9, **adaptive))
    return made


_FIT = LambdaFit(
    model="sdnet18",
    weights="5d" * 32,
    dataset="cifar10",
    noise="gaussian",
    seed=0,
    heldout="feedfeedfeedfeed/heldout",
    trained_on_heldout=False,
    lam0=0.1,
    grid=(0.1, 0.5, 0.9),
    levels=(),
    lines={"squared": Line(slope=0.1, intercept=0.0, r2=1.0), "norm": Line(slope=0.4, intercept=-0.3, r2=0.9731)},
    dataset_definition="squared",
    image_definition="norm",
    image_line=Line(slope=0.2, intercept=0.0, r2=0.5),
    image_candidates={"norm/levels": 0.71, "squared/levels": 0.64},
    created="2026-01-01T00:00:00+00:00",
)


def _fit(noise: str = "gaussian", **changes: Any) -> LambdaFit:
    levels = tuple(
        NoiseLevel(
            noise=f"{noise}_noise",
            parameters={"std": std},
            residuals={"squared": 10.0 * best, "norm": (10.0 * best) ** 0.5},
            correct=correct,
            total=500,
            best_lam=best,
        )
        for std, best, correct in (
            (0.04, 0.1, (450, 440, 400)),
            (0.08, 0.5, (300, 390, 350)),
            (0.12, 0.9, (150, 250, 310)),
        )
    )
    return facts.replace(_FIT, **({"noise": noise, "levels": levels} | changes))


@pytest.fixture(scope="session")
def fit() -> FitMaker:
    return _fit
