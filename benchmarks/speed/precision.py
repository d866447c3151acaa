"""Forward passes in bfloat16 beside float32, and sweeps with as many images at a time as memory allows beside 250."""

from __future__ import annotations

from functools import partial

import torch
from row import Row, in_turn

import robustcsc as rc
from robustcsc.data import ImageSet
from robustcsc.evaluation.jobs import Job
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import BatchSize, Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.precision import Bfloat16
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.session.processor import has_bfloat16

MODEL = "sdnet-textures"


def rows() -> list[Row]:
    """Returns the row of a forward pass, with a target where the processor has bfloat16, and that of a cell."""
    session = rc.open(MODEL, device="cpu")
    model, images = session.model, session.images()
    (batch,) = images.subset(torch.arange(250)).batches(250)
    reduced = Bfloat16(model.model)
    forward = in_turn(partial(_answers, reduced, batch.images), partial(_answers, model.model, batch.images))
    auto, fixed = (partial(_cell, model, images, size) for size in ("auto", 250))
    assert auto() == fixed()
    unit = has_bfloat16()
    target = 0.6 if unit else None
    note = "" if unit else "no bfloat16 unit here"
    what = f"{MODEL}: one cell of {len(images)} images, --batch-size auto"
    return [
        Row.timed("precision", f"{MODEL}: batch of 250 in bfloat16", "in float32", forward, target, note=note),
        Row.timed("precision", what, "--batch-size 250", in_turn(auto, fixed), 1.1),
    ]


def _answers(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with evaluation_mode(model), torch.inference_mode():
        logits: torch.Tensor = model(images)
    return logits


def _cell(model: LoadedModel, images: ImageSet, batch_size: BatchSize) -> int:
    """Returns the right answers under one corruption."""
    spec = rc.load_spec("cifar10_c")
    noise = Corruption(name="gaussian_noise", severity=3, table=spec.table)
    cell = Planner(model=model.facts, images=images_fact(images), batch_size=batch_size).cell(noise, [TrainingLambda()])
    evaluator = Evaluator(model=model, inputs=Inputs(images=images, spec=spec), batch_size=batch_size)
    (record,) = evaluator.measure(Job(cells=(cell,))).records
    return record.met
