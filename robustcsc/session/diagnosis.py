"""What a bug report needs: versions, devices and places, and what is wrong with them. Torch is imported late."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from robustcsc import __version__, roots, runs
from robustcsc.errors import RobustCSCError
from robustcsc.files import check_writable
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.store import ResultStore
from robustcsc.runs import Run
from robustcsc.session import installation
from robustcsc.session.installation import Problem
from robustcsc.session.processor import has_bfloat16, processor_field

#: Environment variables that change what robustcsc does; variables that hold secrets are not among them.
VARIABLES = (
    roots.ENVIRONMENT,
    roots.CACHE_ENVIRONMENT,
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"),
    *("RAY_ADDRESS", "RAY_AUTH_MODE"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME", "PYTHONPATH", "TERM", "NO_COLOR", "COLUMNS", "LANG"),
)

#: Free bytes below which it is told.
_LITTLE_SPACE = 2**30


@dataclass(frozen=True)
class Gpu:
    """A CUDA device.

    Attributes:
        name: Its name.
        memory: Its memory in bytes.
        capability: Its compute capability, like ``"9.0"``.
        bfloat16: Whether it computes with bfloat16.
    """

    name: str
    memory: int
    capability: str
    bfloat16: bool


@dataclass(frozen=True)
class Compute:
    """What there is to compute with, as PyTorch sees it.

    Attributes:
        threads: Threads that it uses on the CPU.
        cuda: Version of CUDA that it was built for; ``None`` for a build without.
        gpus: The CUDA devices.
        driver: Version of the NVIDIA driver; ``""`` without one.
        mps: Whether there is an Apple GPU, which robustcsc does not use.
    """

    threads: int
    cuda: str | None
    gpus: tuple[Gpu, ...]
    driver: str
    mps: bool


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a bug report needs.

    Attributes:
        problems: What is wrong; what stops robustcsc comes first.
        version: Of robustcsc.
        commit: Of the checkout that it lies in, if it does.
        package: Folder of the package.
        python: Version of Python.
        executable: Its program.
        system: Operating system.
        cpu: Model of the processor.
        cpus: How many of them this process may use.
        bfloat16: Whether they multiply in bfloat16; ``None`` if that is not known.
        memory: Bytes.
        ray: Version of Ray, for ``--engine ray``; ``None`` if it is not installed.
        compute: What PyTorch sees; ``None`` if it cannot be imported.
        packages: Versions of the packages that are needed; ``None`` for a missing one.
        extras: For each optional extra, its requirements, and the versions that are installed.
        variables: Environment variables that are set.
        runs: The folder of runs.
        run_count: How many there are.
        latest: Name of the latest one.
        data: What ``ROBUSTCSC_DATA`` names.
        cache: The folder of what is kept to save time; ``None`` if nothing is.
        cached: Bytes that it takes.
        free: Free bytes on the disk of the runs.
    """

    problems: tuple[Problem, ...]
    version: str
    commit: str | None
    package: Path
    python: str
    executable: str
    system: str
    cpu: str
    cpus: int
    bfloat16: bool | None
    memory: int
    ray: str | None
    compute: Compute | None
    packages: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    variables: dict[str, str]
    runs: Path
    run_count: int
    latest: str | None
    data: Path | None
    cache: Path | None
    cached: int
    free: int

    @property
    def works(self) -> bool:
        """Whether nothing stops robustcsc."""
        return not any(problem.stops for problem in self.problems)


def diagnose() -> Diagnosis:
    """Returns what a bug report needs, and what is wrong; writes nothing.

    Examples:
        >>> from robustcsc.session.diagnosis import diagnose
        >>> diagnose().works
        True
    """
    package, folder = Path(__file__).parents[1], runs.RUNS.absolute()
    broken = list(installation.broken_packages())
    compute = None if any(it.stops for it in broken) else _compute()
    cpus, variables = _cpus(), {name: os.environ[name] for name in VARIABLES if name in os.environ}
    problems = [
        *broken,
        *installation.unmet_requirements(),
        *([] if compute is None else _slow(compute, cpus)),
        *_places(folder),
    ]
    found = _runs()
    cache = roots.cache_folder()
    latest = max(((run.changed or 0, run.name) for run in found), default=None)
    return Diagnosis(
        problems=tuple(sorted(problems, key=lambda problem: not problem.stops)),
        version=__version__,
        commit=_commit(package.parent),
        package=package,
        python=platform.python_version(),
        executable=sys.executable,
        system=platform.platform(),
        cpu=processor_field("model name") or platform.processor() or platform.machine(),
        cpus=cpus,
        bfloat16=has_bfloat16(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        ray=installation.version("ray"),
        compute=compute,
        packages={name: installation.version(name) for name, extra, _ in installation.own_requirements() if not extra},
        extras=installation.extras(),
        variables=variables,
        runs=folder,
        run_count=len(found),
        latest=latest and latest[1],
        data=Path(variables[roots.ENVIRONMENT]) if variables.get(roots.ENVIRONMENT) else None,
        cache=cache,
        cached=sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache else 0,
        free=shutil.disk_usage(folder if folder.is_dir() else folder.parent).free,
    )


def _compute() -> Compute:
    import torch

    from robustcsc.evaluation.models import driver_version

    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return Compute(
        threads=torch.get_num_threads(),
        cuda=torch.version.cuda,
        gpus=tuple(Gpu(it.name, it.total_memory, f"{it.major}.{it.minor}", it.major >= 8) for it in devices),
        driver=driver_version(),
        mps=torch.backends.mps.is_available(),
    )


def _slow(compute: Compute, cpus: int) -> Iterator[Problem]:
    """Yields what makes everything slow."""
    if compute.threads > cpus:
        yield Problem(
            f"PyTorch uses {compute.threads} threads on {cpus} processors, which is slow: type export "
            f"OMP_NUM_THREADS={cpus}."
        )
    if not compute.gpus and Path("/proc/driver/nvidia/version").exists():
        reason = "this PyTorch is a build without CUDA" if compute.cuda is None else "PyTorch cannot use it"
        yield Problem(
            f"There is an NVIDIA GPU, and {reason}: install the build for your driver, see "
            "https://pytorch.org/get-started, or use --device cpu."
        )


def _places(folder: Path) -> Iterator[Problem]:
    """Yields what is wrong with the folder of runs, with each run, with the data root and with the disk."""
    try:
        check_writable(folder, "The folder of runs, in the one that robustcsc is started in,", folder=True)
    except RobustCSCError as error:
        yield Problem(str(error), stops=True)
    for run in _runs():
        yield from _of_run(run)
    above = os.environ.get(roots.ENVIRONMENT)
    if above and not Path(above).expanduser().is_dir():
        yield Problem(f"{roots.ENVIRONMENT} names {above}, which is no folder: set it to one that holds data sets.")
    free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if free < _LITTLE_SPACE:
        yield Problem(f"Only {free / 2**20:.0f} MiB are free on the disk of {folder}: free some space.")


def _of_run(run: Run) -> Iterator[Problem]:
    """Yields what a command on a run would be refused for."""
    try:
        ResultStore(run.store_path, read_only=True).close()
        for path in sorted(run.fit_path("any").parent.glob("*.json")):
            LambdaFit.load(path)
        for name, place in run.places.items():
            roots.find_root(name, place.root)
    except RobustCSCError as error:
        yield Problem(f"Run {run.name!r}: {error}")


def _runs() -> list[Run]:
    try:
        return runs.existing()
    except RobustCSCError:  # told as a folder that cannot be written to
        return []


def _cpus(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Returns how many processors this process may use, also in a container with a quota."""
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else min(cpus, ceil(int(quota) / int(period)))


def _commit(checkout: Path) -> str | None:
    """Returns the commit of a checkout, with ``-dirty`` behind it if files were changed; ``None`` if it is none."""
    if not (checkout / ".git").exists():
        return None
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
