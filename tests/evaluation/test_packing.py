"""What travels to workers: weights, images in memory, and the paths of images in files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.data import DecodedImages, ImageSet, MemoryImages, StreamedImages, load
from robustcsc.data.folder import list_images, open_listing
from robustcsc.errors import DataError, EngineError
from robustcsc.evaluation.jobs import Job
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.packing import check_images, packed, unpacked
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.measurements import facts
from robustcsc.measurements.records import Record

CPU = torch.device("cpu")


def answered(evaluator: Evaluator) -> list[Record]:
    """Returns the records of the clean images, without times."""
    known = evaluator.model.facts
    planner = Planner(model=known, images=images_fact(evaluator.inputs.images), batch_size=25)
    (cell,) = planner.clean(known.policies(["train", "adaptive-image"] if known.has_lambda else []))
    records = evaluator.measure(Job(cells=(cell,))).records
    return [facts.replace(it, provenance=facts.replace(it.provenance, seconds=0.0, created="")) for it in records]


def travelled(model: LoadedModel, images: ImageSet) -> ImageSet:
    """Returns the images that a worker has."""
    return unpacked(packed(Evaluator(model=model, inputs=Inputs(images=images))), CPU).inputs.images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Twenty grey images of 8 x 8 pixels in ten classes."""
    rng = np.random.default_rng(0)
    for label in range(10):
        folder = tmp_path / "tree" / "test" / str(label)
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "tree"


def test_an_evaluator_measures_the_same_elsewhere_and_keeps_nothing(model: LoadedModel, images: ImageSet) -> None:
    evaluator = Evaluator(model=model, inputs=Inputs(images=images), batch_size=25, progress=lambda *told: None)
    expected = answered(evaluator)
    evaluator.right[expected[0].measurement.policy] = expected[0].outcomes  # type: ignore[assignment]
    elsewhere = unpacked(packed(evaluator), CPU)
    assert elsewhere.right == {} and elsewhere.batch_size == 25
    assert answered(elsewhere) == expected


def test_images_in_files_travel_as_paths(model: LoadedModel, tree: Path) -> None:
    decoded = load("imagefolder", tree, readers=0)
    streamed = open_listing(list_images(tree / "test"), "test", None, 0, memory_limit=0)
    assert isinstance(decoded, DecodedImages) and isinstance(streamed, StreamedImages)
    for images in (decoded, streamed):
        fingerprint = images.fingerprint  # the pixels or digests of all files are known here now
        there = travelled(model, images)
        assert not {"_decoded", "in_memory"} & set(vars(there)) and not getattr(there, "_digests", {})
        check_images(there, fingerprint)
        assert torch.equal(next(there.batches(20)).images, next(images.batches(20)).images)
        other = next((tree / "test" / "3").iterdir())
        other.rename(tree / "elsewhere")
        with pytest.raises(DataError, match=r"Where the worker is, .* holds other images"):
            check_images(travelled(model, images), fingerprint)
        (tree / "elsewhere").rename(other)
    with pytest.raises(DataError, match=r"There is no folder .* where the worker is"):
        check_images(replace(streamed, root=tree / "missing"), streamed.fingerprint)


OWN = """
from torch import nn

class Own(nn.Module):
    def __init__(self, *more):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), *more)

    def forward(self, images):
        return self.layers(images)
"""


def test_a_model_of_ones_own_needs_its_module(
    plain: LoadedModel, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_model.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_model  # type: ignore[import-not-found]

    def evaluator(made: Callable[[], torch.nn.Module]) -> Evaluator:
        return Evaluator(model=replace(plain, model=made().eval()), inputs=Inputs(images=images))

    there = evaluator(own_model.Own)
    content = packed(there)
    assert answered(unpacked(content, CPU)) == answered(there)
    monkeypatch.delitem(sys.modules, "own_model")
    (tmp_path / "own_model.py").unlink()
    with pytest.raises(EngineError, match=r"A worker cannot load the model \(ModuleNotFoundError"):
        unpacked(content, CPU)

    class Inner(torch.nn.Module):
        """Of no module that could be imported."""

    with pytest.raises(EngineError, match=r"linear cannot be sent to another process"):
        packed(evaluator(Inner))


def test_pixels_in_memory_travel(images: ImageSet, model: LoadedModel) -> None:
    assert isinstance(images, MemoryImages)
    there = travelled(model, images)
    assert isinstance(there, MemoryImages) and torch.equal(there.pixels, images.pixels)
