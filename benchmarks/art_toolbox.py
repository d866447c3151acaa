"""The Adversarial Robustness Toolbox (ART), installed only while a benchmark runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

PACKAGES = ("adversarial-robustness-toolbox", "six", "tqdm")  # without their dependencies, which are installed already


@contextmanager
def toolbox(*, wanted: bool = True) -> Iterator[bool]:
    """Installs the toolbox into a temporary folder if it is wanted, and yields whether it can be imported."""
    if not wanted:
        yield False
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *PACKAGES]
        installed = subprocess.run(command, capture_output=True, text=True, check=False)
        if installed.returncode != 0:
            reason = (installed.stderr.strip().splitlines() or ["pip failed"])[-1]
            print(f"Without the Adversarial Robustness Toolbox, which could not be installed: {reason}", flush=True)
            yield False
            return
        sys.path.insert(0, folder)
        try:
            importlib.import_module("art")
        except ImportError as error:
            print(f"Without the Adversarial Robustness Toolbox, which cannot be imported: {error}", flush=True)
            yield False
        else:
            yield True
        finally:
            sys.path.remove(folder)


def classifier(
    model: nn.Module,
    image_shape: tuple[int, ...],
    classes: int,
    *,
    cuda: bool,
    clip_values: tuple[float, float] | None = None,
) -> Any:
    """Returns a model as the toolbox wants it; without `clip_values` images are not cut to a box."""
    from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]

    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=image_shape,
        nb_classes=classes,
        clip_values=clip_values,
        device_type="gpu" if cuda else "cpu",
    )
