"""The Adversarial Robustness Toolbox (ART), installed for the time of a benchmark only."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGES = ("adversarial-robustness-toolbox", "six", "tqdm")  # without their own needs, which are here already


@contextmanager
def toolbox(*, wanted: bool = True) -> Iterator[bool]:
    """Installs the toolbox into a temporary folder, if it is wanted; yields whether it can be imported."""
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
