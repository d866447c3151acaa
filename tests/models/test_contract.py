"""What every model of the catalog promises, whatever its family."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.errors import RobustCSCError
from robustcsc.evaluation import driver
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.fooling.plans import uap_plan
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.layers.constraints import Constrained, project_parameters
from robustcsc.layers.csc import csc_layers
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.lambdas import set_lambda
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.patch_code import PatchCode2d
from robustcsc.layers.qmetric import QMetricReLU
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.layers.unit_dictionary import UnitDictionary
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Crafting, RandomControl, Universal
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel
from robustcsc.models import checkpoint
from robustcsc.models.catalog import MODELS, ModelSpec, build, default_spec
from robustcsc.models.convert import convert
from robustcsc.models.known import PAPERS
from robustcsc.reports.page.sections import Report, report_sections
from tests.models import listed

#: One or two of each family, small enough for every run; all others are slow tests.
QUICK = (
    *(
        "resnet8",
        "resnet-digits",
        "sdnet20",
        "sdnet-digits",
        "plainnet3",
        "detrame-plainnet3",
        "detrame-resnet8",
    ),
    *("plain20", "res-csc20", "res-csc20-simplified", "msdnet6", "msd-csc-fista6", "ml-csc-feedforward"),
    *("tddl-cnn", "mnist-cnn", "mdeq-digits", "scn-digits"),
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
    # Fresh weights have no equilibrium, and so the solver would go all its steps.
    few = {"num_steps": 4, "backward_steps": 4} if name.startswith("mdeq") else {}
    spec = default_spec(name, 7, shape, normalization="cifar10", options=few)
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
    known = (DenseCSCConv2d, ElasticNetCode, MultilayerCSCConv2d, PatchCode2d, QMetricReLU, UnitDictionary)
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
        if isinstance(module, PatchCode2d):
            assert module.threshold.min() >= 0
            norms = module.weight.detach().flatten(1).norm(dim=1)
            assert not module.unit_atoms or torch.allclose(norms, torch.ones_like(norms))
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


def test_it_is_swept_attacked_and_reported_like_any_other(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustcsc.attacks.sanity.LARGE_STEPS", (2,))  # most of the time otherwise, and no fact of here
    subject = Subject(run="r", model=entry.spec.name, weights="5d" * 32)
    model = LoadedModel(subject=subject, model=entry.model.eval(), device=torch.device("cpu"))
    test = MemoryImages(
        name="squares",
        split="test",
        classes=tuple("abcdefg"),
        pixels=(entry.images * 255).to(torch.uint8),
        labels=entry.labels,
        positions=torch.arange(3),
    )
    logits = entry.logits()
    right = int((model.model(test.pixels / 255).argmax(1) == entry.labels).sum())
    seen = replace(test, split="train")
    inputs = Inputs(images=test, spec=load_spec("cifar10_c"), crafting_images=seen, perturbations=tmp_path)
    planner = Planner(model=model.facts, images=images_fact(test), batch_size=250)
    threat, policies = ThreatModel("linf", 8 / 255), [model.facts.own_policy]
    crafting = Crafting(images=seen.fingerprint, count=3, delta=0.2, passes=1, batch_size=25)
    pgd = AttackRequest(steps=(AttackStep.of("pgd", steps=1),), threats=(threat,), protocols=(Protocol.PLAIN,))
    plan = [
        planner.clean(policies),
        *planner.sweep(planned_corruptions(inputs, ["gaussian_noise"], [5]), policies),
        *attack_plan(planner, pgd),
        *uap_plan(planner, crafting, [threat], [Protocol.PLAIN], [0]),
    ]
    with ResultStore(tmp_path / "results.sqlite") as store:
        records = list(driver.run(plan, Evaluator(model=model, inputs=inputs), store))
    clean, noisy, attacked = records[:3]
    assert (clean.met, clean.total) == (right, 3)
    assert noisy.total == 3 and attacked.met <= clean.met
    assert {type(record.measurement.perturbation) for record in records[3:]} == {Universal, RandomControl}
    assert torch.equal(entry.logits(), logits)  # nothing stays behind
    sections = {section.anchor for section in report_sections(Report(title="Contract", records=records))}
    assert sections >= {"means", "attacks", "fooling"}


def test_every_family_names_its_paper() -> None:
    assert {builder.__module__.rpartition(".")[2] for builder in MODELS.values()} == PAPERS.keys()


def test_what_is_known_without_the_networks_is_true() -> None:
    assert listed.FILE.read_text("utf-8") == listed.text(), "run: python tests/models/listed.py"
