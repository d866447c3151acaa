from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import Spec
from robustcsc.data import Batch, ImageSet, StreamedImages, load
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs, planned_corruptions
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.policies import Adaptive, Scope, TrainingLambda
from robustcsc.measurements.records import Images, Location, Metric, Record, Subject

Measure = Callable[..., list[Record]]
ALL = ("train", "fixed=0.5", "adaptive", "adaptive-batch", "adaptive-image", "oracle")


def test_records_say_what_was_measured(
    model: LoadedModel, images: ImageSet, spec: Spec, fit: LambdaFit, measure: Measure
) -> None:
    policies = model.facts.policies(("train", "adaptive"))
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["impulse_noise"], [2], seed=9))
    location = Location(data="digits", limit=60)
    clean, _, train, adaptive = measure(
        model,
        lambda planner: [planner.clean(policies), *planner.sweep(made, policies)],
        spec=spec,
        location=location,
    )
    assert clean.measurement.perturbation == Clean()
    fitted = Adaptive(scope=Scope.DATASET, fit=fit.digest)
    for record, policy in ((train, TrainingLambda()), (adaptive, fitted)):
        it = record.measurement
        assert it.subject == Subject(run="r", model="tiny", weights="5d" * 32)
        assert it.images == Images(dataset="digits", split="test", fingerprint=images.fingerprint, count=60)
        assert it.perturbation == Corruption(
            name="impulse_noise", severity=2, table=spec.table, pixels=spec.pixels, seed=9
        )
        assert (it.policy, it.metric, it.batch_size) == (policy, Metric.ACCURACY, None)
        assert record.total == 60 and record.location == location and record.details is None
        assert record.provenance.device.startswith("cpu")
        assert record.provenance.versions["torch"] == torch.__version__
        assert record.provenance.seconds > 0 and record.provenance.created.endswith("+00:00")
    assert train.met < clean.met


def test_modes_and_lambdas_are_restored(model: LoadedModel, images: ImageSet, spec: Spec, measure: Measure) -> None:
    model.model.train()
    model.model.norm.eval()  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    modes = [module.training for module in model.model.modules()]
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["impulse_noise"], [1]))
    measure(model, lambda planner: planner.sweep(made, model.facts.policies(ALL)), spec=spec)
    assert [module.training for module in model.model.modules()] == modes
    torch.testing.assert_close(model.model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("policies", [("train",), ("adaptive", "adaptive-image", "oracle")])
def test_no_batch_of_an_image_folder_is_held_but_the_current_one(
    policies: tuple[str, ...],
    model: LoadedModel,
    spec: Spec,
    measure: Measure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for label in range(10):
        for number in range(2):
            path = tmp_path / "tree" / "test" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 20 * label + number, np.uint8)).save(path)
    monkeypatch.setattr("robustcsc.data.folder.MEMORY_LIMIT_BYTES", 0)
    images = load("imagefolder", tmp_path / "tree", readers=0)
    assert isinstance(images, StreamedImages)
    given: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    whole = StreamedImages.batches

    def watched(self: StreamedImages, batch_size: int, **settings: Any) -> Iterator[Batch]:
        for batch in whole(self, batch_size, **settings):
            given.append(weakref.ref(batch.images))
            alive.append(sum(reference() is not None for reference in given))
            yield batch

    monkeypatch.setattr(StreamedImages, "batches", watched)
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["gaussian_noise"], [1, 5]))
    chosen = model.facts.policies(policies)
    records = measure(model, lambda planner: planner.sweep(made, chosen), images=images, batch_size=2, spec=spec)
    assert {record.total for record in records} == {20}
    assert len(alive) >= 20
    assert max(alive) <= 2


def test_batches_of_large_images_are_sliced_and_the_answers_are_those_of_whole_batches(
    model: LoadedModel, calls: Any, spec: Spec, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Corruption(name="gaussian_noise", severity=3, table=spec.table)
    for policies, passes in (([TrainingLambda()], [1, 3]), ([TrainingLambda(), Adaptive(scope=Scope.BATCH)], None)):
        found = []
        for size in (2**24, 4 * 64 * 20):  # the second has room for 20 of the 60 digits
            monkeypatch.setattr("robustcsc.evaluation.room.SLICE_BYTES", size)
            calls.count = 0
            made = measure(model, lambda planner: planner.sweep([noise], policies), spec=spec, remeasure=True)  # noqa: B023
            found.append(([it.outcomes for it in made], calls.count))
        assert found[0][0] == found[1][0]
        counts = [count for _, count in found]
        assert counts == (passes or counts[:1] * 2)  # lambda is chosen for whole batches
