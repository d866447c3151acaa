"""What every model of the catalog promises, whatever its family."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.measurements.threats import ThreatModel
from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.errors import RobustCSCError
from robustcsc.evaluation.adversarial import attack_pgd
from robustcsc.evaluation.fooling import Crafting, attack_uap
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean, sweep
from robustcsc.layers.constraints import Constrained, project_parameters
from robustcsc.layers.csc import csc_layers
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.lambdas import lambda_layers, set_lambda
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.qmetric import QMetricReLU
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.layers.unit_dictionary import UnitDictionary
from robustcsc.models import checkpoint
from robustcsc.models.catalog import MODELS, PAPERS, ModelSpec, build, default_spec
from robustcsc.models.convert import convert
from robustcsc.records import Record
from robustcsc.report import report_sections
from robustcsc.measurements.store import ResultStore

#: One or two of each family, small enough for every run; all others are slow tests.
QUICK = (
    *("resnet8", "resnet-digits", "sdnet20", "sdnet-digits", "plainnet3", "detrame-plainnet3", "detrame-resnet8"),
    *(
        "plain20",
        "res-csc20",
        "res-csc20-simplified",
        "msdnet6",
        "msd-csc-fista6",
        "ml-csc-feedforward",
        "ml-csc-fista",
    ),
    *("tddl-lin", "tddl-cnn", "mnist-cnn"),
)


@dataclass(frozen=True)
class Entry:
    """A model of the catalog, images of the size it is made for, and labels."""

    spec: ModelSpec
    model: nn.Module
    images: Tensor
    labels: Tensor

    @torch.no_grad()
    def logits(self, model: nn.Module | None = None) -> Tensor:
        result: Tensor = (model or self.model).eval()(self.images)
        return result


def entries() -> Iterator[object]:
    for name in MODELS:
        yield name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)


@torch.no_grad()
def take_statistics(entry: Entry) -> None:
    """Gives batch normalisation the statistics of the images: features of an untrained deep network vanish without."""
    norms = [module for module in entry.model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    entry.model.train()(entry.images)
    for norm in norms:
        norm.momentum = 0.1


@pytest.fixture(scope="module", params=entries())
def entry(request: pytest.FixtureRequest) -> Entry:
    name: str = request.param
    shape = (1, 8, 8) if name.endswith("digits") else (3, 32, 32)
    torch.manual_seed(0)
    spec = default_spec(name, 7, shape, normalization="cifar10")
    images = torch.rand(3, *shape) * torch.tensor([1, 0.5, 0.1]).view(3, 1, 1, 1)
    entry = Entry(spec=spec, model=build(spec), images=images, labels=torch.tensor([0, 3, 6]))
    take_statistics(entry)
    return entry


def test_the_gradient_reaches_every_parameter_and_the_images(entry: Entry) -> None:
    images = entry.images.clone().requires_grad_()
    logits = entry.model.train()(images)
    assert logits.shape == (3, 7)
    torch.autograd.backward(F.cross_entropy(logits, entry.labels))
    gradients = {"images": images.grad} | {name: it.grad for name, it in entry.model.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), name


def test_constraints_hold_after_a_step_of_the_optimiser(entry: Entry) -> None:
    model = deepcopy(entry.model).train()  # the steps of the deepest networks without shortcuts lead to infinity
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    torch.autograd.backward(F.cross_entropy(model(entry.images), entry.labels))
    optimizer.step()
    project_parameters(model)
    known = (DenseCSCConv2d, ElasticNetCode, MultilayerCSCConv2d, QMetricReLU, UnitDictionary)
    for module in model.modules():
        assert isinstance(module, known) or not isinstance(module, Constrained), "say here what holds for it"
        if isinstance(module, UnitDictionary):
            norms = module.weight.detach().flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, torch.ones_like(norms))
        if isinstance(module, DenseCSCConv2d):
            assert 0 < module.step_size.item() < 1
        if isinstance(module, MultilayerCSCConv2d):
            assert module.lipschitz.item() > 0
        if isinstance(module, ElasticNetCode):
            assert module.dictionary.detach().norm(dim=0).max() <= 1 + 1e-6
        if isinstance(module, QMetricReLU):
            height, width = module.weight.shape[2:]
            assert not module.weight[:, :, height // 2, width // 2].diagonal().any()
            assert 0 <= module.gain.min() <= module.gain.max() <= 1
            assert module.threshold.min() >= 0


@torch.no_grad()
def test_an_image_alone_has_the_logits_it_has_in_a_batch(entry: Entry) -> None:
    # In float64: a hundred layers without shortcuts enlarge what rounding does to a third of the logits.
    model, images = deepcopy(entry.model).eval().double(), entry.images.double()
    together = model(images)
    assert not torch.equal(together[0], together[1])
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4 * together.abs().max().item())


def test_a_checkpoint_gives_back_the_same_logits(entry: Entry, tmp_path: Path) -> None:
    expected = entry.logits()
    checkpoint.save(tmp_path / "weights.safetensors", entry.spec, entry.model, {})
    loaded = checkpoint.load(tmp_path / "weights.safetensors")
    assert loaded.spec == entry.spec
    assert torch.equal(entry.logits(loaded.model), expected)


def test_its_convolutions_become_csc_layers(entry: Entry) -> None:
    before = set(csc_layers(entry.model))
    model = build(entry.spec)
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        with pytest.raises(RobustCSCError):
            convert(model, entry.spec.image_shape)
        return
    convert(model, entry.spec.image_shape)
    set_lambda(model, 1e-3)  # unit atoms make smaller features, which a code behind them must not call zero
    assert len(set(csc_layers(model)) - before) == 1
    images = entry.images.clone().requires_grad_()
    torch.autograd.backward(F.cross_entropy(model.train()(images), entry.labels))
    assert images.grad is not None and images.grad.isfinite().all() and images.grad.any()


def test_it_is_swept_attacked_and_reported_like_any_other(entry: Entry, tmp_path: Path) -> None:
    subject = Subject(
        run="r", model_name=entry.spec.name, weights="5d" * 32, model=entry.model.eval(), device=torch.device("cpu")
    )
    test = MemoryImages(
        name="squares",
        split="test",
        classes=tuple("abcdefg"),
        pixels=(entry.images * 255).to(torch.uint8),
        labels=entry.labels,
        positions=torch.arange(3),
    )
    logits = entry.logits()
    right = int((subject.model(test.pixels / 255).argmax(1) == entry.labels).sum())
    threat, crafting = ThreatModel("linf", 8 / 255), Crafting(images=replace(test, split="train"), passes=1)
    policies = ("train",) if lambda_layers(entry.model) else ("none",)
    spec, noise = load_spec("cifar10_c"), ("gaussian_noise",)
    with ResultStore(tmp_path / "results.sqlite") as store:
        records: list[Record] = [
            *evaluate_clean(subject, test, store, policies=policies),
            *sweep(subject, test, spec, store, policies=policies, corruptions=noise, severities=[5]),
            *attack_pgd(subject, test, store, threat=threat, protocols=["plain"], steps=1),
            *attack_uap(subject, test, store, threats=[threat], crafting=crafting, folder=tmp_path),
        ]
    clean, noisy, attacked = records[:3]
    assert (clean.correct, clean.total) == (right, 3)
    assert noisy.total == 3 and attacked.correct <= clean.correct
    assert {record.condition.kind for record in records[3:]} == {"uap", "uap-control"}
    assert torch.equal(entry.logits(), logits)  # nothing stays behind
    assert {section.anchor for section in report_sections(records, [])} >= {"headline", "attacks", "fooling"}


def test_every_family_names_its_paper() -> None:
    assert {builder.__module__.rpartition(".")[2] for builder in MODELS.values()} == PAPERS.keys()
