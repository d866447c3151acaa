"""What is done in a process of its own: one step, or a look at the machine.

Only these processes import PyTorch. The one that starts them lives through all, and needs neither it nor the GPU.
"""

from __future__ import annotations

import os
import platform
import shutil
import traceback
from collections.abc import Iterable
from pathlib import Path

from scales import Scale

from findings import Findings
from robustcsc.allocator import keep_freed_memory


def do(name: str, scale: Scale, images: Path | None, work: Path, findings: Findings) -> None:
    """Does one step: keeps each row at once, as well as the results of the networks so far. What it says is logged.

    Raises:
        SystemExit: A part of it failed; the findings and the log say how.
    """
    from steps import PARTS, Place

    with (findings.path.parent / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(work)
    keep_freed_memory()
    place = Place(scale, images, work)
    errors: list[str] = []
    parts = PARTS[name](place)
    while True:
        try:
            for row in next(parts)():
                findings.add(name, row)
                keep_results(place.networks, work, findings.path.parent)
        except StopIteration:
            break
        except Exception as error:
            traceback.print_exc()
            errors.append(f"{type(error).__name__}: {error}"[:500])
            findings.tell(name, error="; ".join(dict.fromkeys(errors))[:2000])
    if errors:
        raise SystemExit(1)


def keep_results(networks: Iterable[str], work: Path, out: Path) -> None:
    """Copies the results of the networks; their weights are too large for many a way back."""
    for network in networks:
        store = work / "runs" / network / "results.sqlite"
        if store.exists():
            shutil.copyfile(store, out / f"{network}.sqlite")


def look(findings: Findings, *, needs_gpu: bool) -> None:
    """Keeps what is measured on.

    Raises:
        SystemExit: There is no GPU, and there has to be one.
    """
    import torch

    from robustcsc.evaluation.models import driver_version, versions

    facts: dict[str, object] = {"card": "none", "processor": platform.machine(), "cores": os.cpu_count(), **versions()}
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        facts |= {"card": about.name, "memory": about.total_memory, "driver": driver_version()}
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        facts |= {"convolutions_in_tf32": torch.backends.cudnn.allow_tf32}
    elif needs_gpu:
        raise SystemExit("PyTorch finds no GPU: add --scale rehearsal.")
    findings.about(machine=facts)
