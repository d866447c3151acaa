"""A cell of a sweep reads back once, after its last batch: the device never waits for the host in between."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustcsc.adaptive.policies import AdaptiveModel
from robustcsc.corruptions import load_spec
from robustcsc.data import Batch, MemoryImages
from robustcsc.evaluation import predictions
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.predictions import Predictions, predict
from robustcsc.evaluation.sources import Inputs, corrupted_batches
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import (
    Adaptive,
    FixedLambda,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.records import Subject
from robustcsc.models.catalog import build, default_spec
from tests.phantom.device import PHANTOM, MixedDevicesError, PhantomTensor, Wait, WaitError, moved, watched

TABLES = {name: load_spec(name) for name in ("cifar10_c", "imagenet_c")}
COLOUR_ONLY = ("frost", "saturate", "spatter")


def images_of(channels: int) -> MemoryImages:
    generator = torch.Generator().manual_seed(channels)
    return MemoryImages(
        name="noise",
        split="test",
        classes=tuple("0123456789"),
        pixels=torch.randint(256, (4, channels, 32, 32), dtype=torch.uint8, generator=generator),
        labels=torch.arange(4),
        positions=torch.arange(4),
    )


IMAGES = {channels: images_of(channels) for channels in (1, 3)}
SHORT = IMAGES[3].subset(torch.arange(2))


def loaded_as(model: nn.Module, name: str) -> LoadedModel:
    return LoadedModel(
        subject=Subject(run="r", model=name, weights="5d" * 32), model=moved(model).eval(), device=PHANTOM
    )


@pytest.fixture(scope="module")
def linear() -> LoadedModel:
    return loaded_as(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), "linear")


@pytest.fixture(scope="module")
def sdnet() -> LoadedModel:
    return loaded_as(build(default_spec("sdnet20", 10, (3, 32, 32))), "sdnet20")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads at the end of a cell, which are watched no more."""
    made: list[str] = []
    read = predictions._Tally.read

    def noted(tally: predictions._Tally, rows: Tensor | None) -> Predictions:
        made.append("read")
        with watched([]):
            return read(tally, rows)

    monkeypatch.setattr(predictions._Tally, "read", noted)
    return made


def corrupted(channels: int, table: str, name: str, severity: int) -> Callable[[torch.device], Iterator[Batch]]:
    corruption = Corruption(name=name, severity=severity, table=TABLES[table].table, pixels=TABLES[table].pixels)
    return partial(corrupted_batches, Inputs(images=IMAGES[channels], spec=TABLES[table]), corruption, 2)


def images_in(batches: Iterator[Batch]) -> Tensor:
    parts = [batch.images for batch in batches]
    return torch.cat([part.host if isinstance(part, PhantomTensor) else part for part in parts])


def cells() -> Iterator[object]:
    for table, name, severity in product(TABLES, sorted(TABLES["cifar10_c"].corruptions), (1, 3, 5)):
        quick = severity == 3 and table == "cifar10_c"
        yield pytest.param(3, table, name, severity, marks=[] if quick else [pytest.mark.slow])
        if severity == 5 and name not in COLOUR_ONLY:
            yield pytest.param(1, table, name, severity, marks=[pytest.mark.slow])


@pytest.mark.parametrize(("channels", "table", "name", "severity"), [*cells()])
def test_corruptions_wait_for_nothing_and_are_those_of_the_host(
    channels: int, table: str, name: str, severity: int
) -> None:
    batches = corrupted(channels, table, name, severity)
    with watched([]):
        list(batches(PHANTOM))  # tables are copied to the device once
    with watched(), _NoRoundedProducts():
        found = images_in(batches(PHANTOM))
    with _NoRoundedProducts():
        expected = images_in(batches(torch.device("cpu")))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("multiplied", [torch.matmul, nn.functional.conv1d])
@pytest.mark.parametrize("inference", [False, True])
def test_products_that_may_be_rounded_are_found(multiplied: Callable[..., Tensor], inference: bool) -> None:
    with torch.inference_mode(inference), _NoRoundedProducts():
        multiplied(torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64))
        with pytest.raises(AssertionError, match="TF32"):
            multiplied(torch.ones(1, 1, 1), torch.ones(1, 1, 1))


class _NoRoundedProducts(TorchDispatchMode):
    """Refuses products of float32 that PyTorch may round to TF32, or to bfloat16 on a CPU, as its settings say."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        product = name in {"mm", "mv", "bmm", "addmm", "addmv", "baddbmm", "matmul", "linear"} or "conv" in name
        floats = any(isinstance(it, Tensor) and it.dtype == torch.float32 for it in args)
        assert not (product and floats), f"{name} may round to TF32: take it within `reproducible`."
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("rounded", [False, True])
def test_a_corrupted_cell_reads_back_after_its_last_batch(rounded: bool, linear: LoadedModel, reads: list[str]) -> None:
    batches = corrupted(3, "cifar10_c", "gaussian_noise", 3)
    with watched():
        found = predict(linear, [NoLambda()], lambda: batches(PHANTOM), 10, rounded=rounded)[NoLambda()]
    assert reads == ["read"]
    images = images_in(batches(torch.device("cpu"))).flatten(1)
    weight, bias = (each.host for each in linear.model.parameters() if isinstance(each, PhantomTensor))
    assert found.classes == (images @ weight.T + bias).argmax(1).tolist()


def test_policies_of_one_cell_read_back_after_its_last_batch(
    sdnet: LoadedModel, reads: list[str], make_fit: Callable[..., LambdaFit]
) -> None:
    fit = make_fit()
    adapted = replace(sdnet, fits={"gaussian": fit})
    policies: list[Policy] = [
        TrainingLambda(),
        FixedLambda(0.5),
        WorstOf((0.1, 0.4)),
        *(Adaptive(it, fit.digest) for it in (Scope.BATCH, Scope.IMAGE)),
        Oracle(),
    ]
    with watched():
        predict(adapted, policies, lambda: SHORT.batches(1, device=PHANTOM), 10)
    assert len(reads) == len({*adapted.facts.grid, 0.5, 0.1, 0.4}) + 3


def test_a_lambda_for_the_data_set_is_read_once(
    sdnet: LoadedModel, reads: list[str], make_fit: Callable[..., LambdaFit]
) -> None:
    fit, waits = make_fit(), list[Wait]()
    policies = [Adaptive(Scope.DATASET, fit.digest)]
    with watched(waits):
        predict(replace(sdnet, fits={"gaussian": fit}), policies, lambda: SHORT.batches(1, device=PHANTOM), 10)
    assert [wait.place for wait in waits] == ["policies.image_residuals"]
    assert reads == ["read"]


class _Reads(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.cpu().flatten(1)[:, :10].to(images.device, non_blocking=True)


class _Mixes(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10] * torch.arange(10.0)


@pytest.mark.parametrize(("model", "error"), [(_Reads(), WaitError), (_Mixes(), MixedDevicesError)])
def test_a_fault_planted_in_a_model_is_found_in_its_cell(model: nn.Module, error: type[Exception]) -> None:
    batches = corrupted(3, "cifar10_c", "brightness", 1)
    with pytest.raises(error), watched():
        predict(loaded_as(model, "faulty"), [NoLambda()], lambda: batches(PHANTOM), 10)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(lambda lam: lam.cpu(), WaitError), (lambda lam: lam * torch.ones(len(lam)), MixedDevicesError)],
    ids=["cpu()", "a tensor of the host"],
)
def test_a_fault_planted_in_a_policy_is_found(
    fault: Callable[[Any], Tensor],
    error: type[Exception],
    sdnet: LoadedModel,
    make_fit: Callable[..., LambdaFit],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit, chosen = make_fit(), AdaptiveModel.lambda_for
    monkeypatch.setattr(AdaptiveModel, "lambda_for", lambda self, images: fault(chosen(self, images)))
    adapted, policy = replace(sdnet, fits={"gaussian": fit}), Adaptive(Scope.IMAGE, fit.digest)
    with pytest.raises(error), watched():
        predict(adapted, [policy], lambda: IMAGES[3].batches(2, device=PHANTOM), 10)
