"""How many images at a time: as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.room import BUDGET, Room, room_for, slice_size
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import Adaptive, Scope, TrainingLambda
from robustcsc.measurements.records import Record

Measure = Callable[..., list[Record]]


def test_memory_that_runs_out_halves_the_images_until_they_have_room() -> None:
    tried = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 30:
            raise torch.OutOfMemoryError
        return "done"

    room = Room(250)
    assert room.used(work) == "done"
    assert tried == [250, 125, 62, 31, 15]
    assert room.used(work) == "done"
    assert tried[5:] == [15]  # what had no room once is not tried again


@pytest.mark.parametrize(("room", "tries"), [(Room(2), 2), (Room(250, fixed=True), 1)])
def test_one_image_and_a_number_of_a_user_are_not_halved(room: Room, tries: int) -> None:
    tried = []

    def work(size: int) -> None:
        tried.append(size)
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        room.used(work)
    assert len(tried) == tries


def test_on_a_cpu_what_its_caches_hold_is_chosen(
    model: LoadedModel, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustcsc.evaluation.room.SLICE_BYTES", 4 * 64 * 20)
    assert slice_size(images) == 20
    assert room_for(model, images, "auto") == Room(len(images))
    for size, count in ((4 * 64 * 10 + 9, 10), (1, 8)):
        monkeypatch.setattr("robustcsc.evaluation.room.CACHE_BYTES", size)
        assert room_for(model, images, "auto") == Room(count)
    assert room_for(model, images, 7) == Room(7, fixed=True)
    assert room_for(model, images, 250) == Room(20, fixed=True)


def test_a_sweep_that_runs_out_of_memory_counts_what_it_would_have_counted(
    model: LoadedModel, spec: Spec, measure: Measure
) -> None:
    noises = [Corruption(name=name, severity=3, table=spec.table) for name in ("gaussian_noise", "shot_noise")]
    policies = [TrainingLambda(), Adaptive(scope=Scope.DATASET)]
    plain = measure(model, lambda planner: planner.sweep(noises, policies), spec=spec)
    sizes = []

    def full(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 16:
            raise torch.OutOfMemoryError

    model.model.register_forward_pre_hook(full)
    found = measure(
        model, lambda planner: planner.sweep(noises, policies), spec=spec, batch_size="auto", remeasure=True
    )
    assert [it.outcomes for it in found] == [it.outcomes for it in plain]
    assert [it.measurement.key for it in found] == [it.measurement.key for it in plain]
    assert sizes[:3] == [60, 30, 15]
    assert set(sizes[3:]) == {15}


def test_counts_that_depend_on_the_batch_size_are_refused_without_one(model: LoadedModel, measure: Measure) -> None:
    with pytest.raises(PolicyError, match=r"cannot be auto: type a number, such as --batch-size 250\.$"):
        measure(model, lambda planner: [planner.clean([Adaptive(scope=Scope.BATCH)])], batch_size="auto")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_half_of_the_free_memory_is_chosen_for(images: ImageSet) -> None:
    class Greedy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            taken = images.new_zeros(len(images), 2**20)  # 4 MiB for each image
            return taken[:, :10] + images.mean()

    device = torch.zeros((), device="cuda").device
    subject: Any = None
    room = room_for(LoadedModel(subject=subject, model=Greedy(), device=device), images, "auto")
    free, _ = torch.cuda.mem_get_info(device)
    assert not room.fixed
    assert room.size == pytest.approx(BUDGET * free / 2**22, rel=0.1)
    assert room_for(LoadedModel(subject=subject, model=Greedy(), device=device), images, 5000).size == 5000
