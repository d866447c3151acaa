from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.fits import LambdaFit, Line, NoiseLevel
from robustcsc.records import Condition, Record

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]

RESNET = (7943, 5617, 3486, 2823, 2345)
TRAIN = (8178, 6350, 4386, 3584, 2792)
ADAPTIVE = (8476, 7487, 6138, 5477, 4884)
LAMBDAS = (0.49, 0.60, 0.75, 0.84, 0.94)


def _record(
    *,
    correct: int,
    total: int = 10000,
    lam: float | None = None,
    created: str = "2026-01-02T03:04:05+00:00",
    **condition: Any,
) -> Record:
    fields: dict[str, Any] = {
        "run": "sdnet",
        "model": "sdnet18",
        "weights": "5d" * 32,
        "dataset": "cifar10",
        "split": "test",
        "images": "0123456789abcdef",
        "kind": "corruption",
        "name": "gaussian_noise",
    }
    if condition.get("kind", "corruption") == "corruption":
        fields |= {"spec": "cifar10_c@1a2b3c4d", "source": "generated"}
    return Record(
        condition=Condition(**(fields | condition)),
        correct=correct,
        total=total,
        lam=lam,
        device="cpu",
        versions="robustcsc 0.1.0, torch 2.13.0, python 3.11.7",
        seconds=1.5,
        created=created,
    )


@pytest.fixture(scope="session")
def record() -> RecordMaker:
    return _record


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """The counts of SDNet's Table 2 on 10000 images, with clean and attacked records."""
    made = []
    resnet: dict[str, Any] = {"run": "resnet", "model": "resnet18", "weights": "4e" * 32, "policy": "none"}
    for at in range(5):
        severity = at + 1
        made.append(_record(correct=RESNET[at], severity=severity, **resnet))
        made.append(_record(correct=TRAIN[at], severity=severity, policy="train", lam=0.1))
        made.append(
            _record(correct=ADAPTIVE[at], severity=severity, policy="adaptive", lam=LAMBDAS[at], fit="f00df00df00d")
        )
        made.append(_record(correct=ADAPTIVE[at] + 10, severity=severity, policy="oracle", lam=LAMBDAS[at]))
        for lam in (0.1, 0.5, 0.9):
            correct = round(9000 - 1000 * severity - 4000 * (lam - 0.2 * severity) ** 2)
            made.append(_record(correct=correct, severity=severity, policy=f"fixed={lam}", lam=lam))
    made.append(_record(correct=9520, kind="clean", name="clean", policy="train", lam=0.1))
    made.append(_record(correct=9500, kind="clean", name="clean", policy="adaptive", lam=0.1, fit="f00df00df00d"))
    made.append(_record(correct=9530, kind="clean", name="clean", **resnet))
    pgd: dict[str, Any] = {
        "kind": "attack",
        "name": "pgd",
        "norm": "linf",
        "epsilon": 8 / 255,
        "steps": 20,
        "restarts": 1,
    }
    made.append(_record(correct=1, total=1000, protocol="plain", **(pgd | resnet)))
    made.append(_record(correct=11, total=1000, protocol="plain", policy="train", lam=0.1, **pgd))
    made.append(_record(correct=352, total=1000, protocol="static", policy="adaptive", lam=0.9, **pgd))
    made.append(_record(correct=5, total=1000, protocol="adaptive", policy="adaptive", lam=0.9, **pgd))
    return made


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
    fields: dict[str, Any] = {
        "model": "sdnet18",
        "weights": "5d" * 32,
        "dataset": "cifar10",
        "noise": noise,
        "seed": 0,
        "heldout": "feedfeedfeedfeed/heldout",
        "trained_on_heldout": False,
        "lam0": 0.1,
        "grid": (0.1, 0.5, 0.9),
        "levels": levels,
        "lines": {
            "squared": Line(slope=0.1, intercept=0.0, r2=1.0),
            "norm": Line(slope=0.4, intercept=-0.3, r2=0.9731),
        },
        "dataset_definition": "squared",
        "image_definition": "norm",
        "image_line": Line(slope=0.2, intercept=0.0, r2=0.5),
        "image_candidates": {"norm/levels": 0.71, "squared/levels": 0.64},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return LambdaFit(**(fields | changes))


@pytest.fixture(scope="session")
def fit() -> FitMaker:
    return _fit
