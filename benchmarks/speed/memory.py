"""Peak memory: a sweep at 224 pixels in batches of 250 against its limit, an attack on digits against plain torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from row import Row

LIMIT = 1536.0
SWEEP = """
from pathlib import Path
import torch
from torch import nn
from robustcsc.corruptions import load_spec
from robustcsc.data.memory import MemoryImages
from robustcsc.evaluation import driver
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.records import Subject
from robustcsc.measurements.store import ResultStore

pixels = torch.randint(0, 256, (250, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
images = MemoryImages(name="noise", split="test", pixels=pixels, labels=torch.arange(250) % 10,
                      classes=tuple("0123456789"), positions=torch.arange(250))
stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                     nn.Linear(64, 10)).eval()
loaded = LoadedModel(subject=Subject(run="r", model="stem", weights="0" * 64), model=stem, device=torch.device("cpu"))
inputs = Inputs(images=images, spec=load_spec("imagenet_c"))
planner = Planner(model=loaded.facts, images=images_fact(images), batch_size=250)
made = planned_corruptions(inputs, ["gaussian_noise", "motion_blur", "snow", "elastic_transform"], [3])
with ResultStore(Path("results.sqlite")) as store:
    plan = list(planner.sweep(made, loaded.facts.policies([])))
    assert len(list(driver.run(plan, Evaluator(model=loaded, inputs=inputs), store))) == 4
"""
PLAIN = """
import torch
from torch.nn.functional import cross_entropy
from robustcsc.data import load
from robustcsc.models.checkpoint import load_shipped

model = load_shipped("sdnet-digits").model.eval()
images, labels = next(load("digits", split="test").batches(250))[:2]
found = images + torch.empty_like(images).uniform_(-8 / 255, 8 / 255)
for _ in range(20):
    found.requires_grad_()
    slope, = torch.autograd.grad(cross_entropy(model(found), labels), found)
    found = (images + (found.detach() + 2 / 255 * slope.sign() - images).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
"""


ATTACK = ("-m", "robustcsc.cli.main", "attack", "--run", "sdnet-digits", "--pgd", "linf")


def peak(*words: str) -> float:
    """Returns the largest memory of Python with these arguments, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words[:3]} failed.")
    return used.ru_maxrss / 1024


def rows() -> list[Row]:
    """Returns the rows; a peak hardly varies, so each is measured once."""
    sweep = peak("-c", SWEEP)
    attack, plain = peak(*ATTACK), peak("-c", PLAIN)
    return [
        _row("sweep, 224 px, batch 250, a stem of 64 channels, 4 corruptions", "the limit", sweep, LIMIT, 1.0),
        _row("attack --run sdnet-digits --pgd linf", "PGD of the same model, written out", attack, plain, 1.15),
    ]


def _row(what: str, other: str, ours: float, theirs: float, at_most: float) -> Row:
    ratio = ours / theirs
    return Row("memory", what, other, "MiB", ours, theirs, ratio, ratio, ratio, at_most)
