"""A cell of a sweep reads back once, after its last batch: the device never waits for the host in between."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import pytest
import torch

from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.evaluation import predictions
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.predictions import Predictions, predict
from robustcsc.evaluation.sources import Inputs, corrupted_batches
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import Adaptive, FixedLambda, Policy, Scope, TrainingLambda
from robustcsc.measurements.records import Subject
from robustcsc.models.catalog import build, default_spec
from tests.phantom.device import PHANTOM, moved, watched

SPEC = load_spec("cifar10_c")
IMAGES = MemoryImages(
    name="noise",
    split="test",
    classes=tuple("0123456789"),
    pixels=torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    labels=torch.arange(6),
    positions=torch.arange(6),
)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    model = moved(build(default_spec("sdnet20", 10, (3, 32, 32)))).eval()
    return LoadedModel(subject=Subject(run="r", model="sdnet20", weights="5d" * 32), model=model, device=PHANTOM)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads at the end of a cell; there are no values, so nothing is read."""
    made: list[str] = []

    def read(tally: object) -> Predictions:
        made.append(type(tally).__name__)
        return Predictions()

    monkeypatch.setattr(predictions._Tally, "read", read)
    return made


def cells() -> Iterator[object]:
    for name, severity in product(sorted(SPEC.corruptions), (1, 3, 5)):
        yield pytest.param(name, severity, marks=[pytest.mark.slow] if severity != 3 else [])


@pytest.mark.parametrize(("name", "severity"), [*cells()])
def test_a_corrupted_cell_reads_back_after_its_last_batch(
    name: str, severity: int, loaded: LoadedModel, reads: list[str]
) -> None:
    inputs, corruption = Inputs(images=IMAGES, spec=SPEC), Corruption(name=name, severity=severity, table=SPEC.table)
    batches = partial(corrupted_batches, inputs, corruption, 2)
    list(batches(torch.device("cpu")))  # tables that are computed on the host, and kept
    with watched():
        predict(loaded, [TrainingLambda()], partial(batches, PHANTOM), 10)
    assert reads == ["_Tally"]


def test_policies_of_one_cell_read_back_after_its_last_batch(
    loaded: LoadedModel, reads: list[str], make_fit: Callable[..., LambdaFit]
) -> None:
    fit = make_fit()
    adapted = LoadedModel(subject=loaded.subject, model=loaded.model, device=PHANTOM, fits={"gaussian": fit})
    policies: list[Policy] = [
        TrainingLambda(),
        FixedLambda(0.5),
        *(Adaptive(it, fit.digest) for it in (Scope.BATCH, Scope.IMAGE)),
    ]
    with watched():
        predict(adapted, policies, lambda: IMAGES.batches(2, device=PHANTOM), 10, rounded=True)
    assert reads == ["_Tally"] * 4
