"""A tiny SDNet that knows the digits a little, some test digits, and a lambda fit that moves within the grid."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.residuals import residuals
from robustcsc.adaptive.shift import clean_statistics
from robustcsc.attacks import catalog
from robustcsc.corruptions import Spec, load_spec
from robustcsc.data import ImageSet, load
from robustcsc.evaluation import driver
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.csc import CSCConv2d, fit_image_size
from robustcsc.layers.normalize import Normalize
from robustcsc.measurements import facts
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.records import Record, Subject
from robustcsc.measurements.references import Reference
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Progress, silent


@dataclass
class Calls:
    """How often the model was called."""

    count: int = 0


def _network() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            normalize=Normalize((0.5,), (0.25,)),
            first=CSCConv2d(1, 8, 3, padding=1, lam=0.1),
            norm=nn.BatchNorm2d(8),
            second=CSCConv2d(8, 12, 3, stride=2, padding=1, lam=0.1),
            bn=nn.BatchNorm2d(12),
            flat=nn.Flatten(),
            head=nn.Linear(192, 10),
        )
    )


@pytest.fixture(scope="session")
def trained() -> nn.Module:
    """Some steps of projected gradient descent: three of four digits right, fewer with noise or another lambda."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _network()
    fit_image_size(model, (1, 8, 8))
    (batch,) = load("digits", split="train").batches(1297)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for rows in torch.randperm(1297, generator=torch.Generator().manual_seed(1))[: 30 * 40].view(30, 40):
        loss = nn.functional.cross_entropy(model(batch.images[rows]), batch.labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        project_parameters(model)
    return model.eval()


@pytest.fixture(scope="session")
def spec() -> Spec:
    return load_spec("cifar10_c")


@pytest.fixture(scope="session")
def images() -> ImageSet:
    """Sixty test digits, every eighth one: positions and rows differ."""
    return load("digits", split="test").subset(torch.arange(60) * 8)


@pytest.fixture(scope="session")
def fit(trained: nn.Module, images: ImageSet) -> LambdaFit:
    """Lambda 0.2 at the residual of clean images, 1.0 at that of noisy ones."""
    (batch,) = images.batches(60)
    noisy = (batch.images + 0.2 * torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    with torch.no_grad():
        clean, more = (residuals(trained, x).mean().item() for x in (batch.images, noisy))
    slope = 0.8 / (more - clean)
    line = Line(slope=slope, intercept=0.2 - slope * clean, r2=1.0)
    return LambdaFit(
        model="tiny",
        weights="5d" * 32,
        dataset="digits",
        noise="gaussian",
        seed=0,
        heldout="feed",
        trained_on_heldout=False,
        lam0=0.1,
        grid=(0.1, 1.5),
        levels=(),
        lines={"squared": line, "norm": line, "relative": line},
        dataset_definition="squared",
        image_definition="squared",
        image_line=line,
        image_candidates={},
        created="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def model(trained: nn.Module, fit: LambdaFit) -> LoadedModel:
    return LoadedModel(
        subject=Subject(run="r", model="tiny", weights="5d" * 32),
        model=copy.deepcopy(trained),
        device=torch.device("cpu"),
        fits={"gaussian": fit},
    )


@pytest.fixture
def reference(model: LoadedModel, images: ImageSet) -> Reference:
    """What the model makes of the test digits, which stand in for training images."""
    layers, agreement = clean_statistics(model.model.eval(), [batch.images for batch in images.batches(60)])
    return Reference(
        weights=model.subject.weights,
        precision="fp32",
        heldout=images.fingerprint,
        trained_on_heldout=False,
        images=len(images),
        agreement=agreement,
        layers=layers,
        created="",
    )


@pytest.fixture
def with_fit(model: LoadedModel, fit: LambdaFit) -> Callable[..., LoadedModel]:
    """The model with a changed Gaussian fit."""

    def change(**changes: Any) -> LoadedModel:
        return replace(model, fits={"gaussian": facts.replace(fit, **changes)})

    return change


@pytest.fixture
def calls(model: LoadedModel) -> Calls:
    """Counts forward passes of the model."""
    counter = Calls()

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counter.count += 1

    model.model.register_forward_pre_hook(count)
    return counter


@pytest.fixture
def plain() -> LoadedModel:
    """A network without CSC layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    subject = Subject(run="p", model="linear", weights="11" * 32)
    return LoadedModel(subject=subject, model=model, device=torch.device("cpu"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    with ResultStore(tmp_path / "results.sqlite") as opened:
        yield opened


@pytest.fixture
def measure(images: ImageSet, store: ResultStore) -> Callable[..., list[Record]]:
    """Measures the chains that a function makes with a planner."""

    def run(
        model: LoadedModel,
        plan: Callable[[Planner], Iterable[Chain]],
        *,
        images: ImageSet = images,
        store: ResultStore = store,
        batch_size: int = 250,
        remeasure: bool = False,
        progress: Progress = silent,
        **inputs: Any,
    ) -> list[Record]:
        planner = Planner(model=model.facts, images=images_fact(images), batch_size=batch_size)
        evaluator = Evaluator(
            model=model,
            inputs=Inputs(images=images, **inputs),
            batch_size=batch_size,
            remeasure=remeasure,
            progress=progress,
        )
        return list(driver.run(plan(planner), evaluator, store))

    return run


@pytest.fixture
def crafted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Every call of an attack: the model it saw, the clean and the adversarial images."""
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def spy(step: Any, model: nn.Module, images: Tensor, *positional: Any, **named: Any) -> Tensor:
        found = catalog.craft(step, model, images, *positional, **named)
        seen.append((model, images, found))
        return found

    monkeypatch.setattr("robustcsc.evaluation.attacks.crafting.craft", spy)
    return seen
