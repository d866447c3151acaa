"""CIFAR-10, CIFAR-100, SVHN, MNIST and Fashion-MNIST, read from the files of torchvision."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustcsc.data.memory import MemoryImages
from robustcsc.errors import DataError

_DIGITS = tuple("0123456789")
_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def load_torchvision(name: str, root: Path, split: str, download: bool) -> MemoryImages:
    """Returns one split of a torchvision data set, its images in the original order.

    Args:
        name: ``"cifar10"``, ``"cifar100"``, ``"svhn"``, ``"mnist"`` or ``"fashion-mnist"``.
        root: The folder with ``cifar-10-batches-py``, ``MNIST/raw``, ``test_32x32.mat`` and so on, or to download to.
        split: ``"train"`` or ``"test"``.
        download: Whether missing files may be downloaded.

    Raises:
        DataError: Files are missing or damaged, or the download failed.
    """
    if not download and not root.is_dir():
        raise DataError(
            f"{root} is not a folder: give --root the one that holds the files of {name}, or add --download."
        )
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # NumPy's remarks about the old pickles
            pixels, labels, classes = _read(name, root, split, download)
    except MemoryError:
        raise
    except Exception as error:  # torchvision passes on what pickle, urllib, zipfile, scipy and its own checks raise
        raise DataError(_explanation(name, root, download, error)) from error
    return MemoryImages(
        name=name,
        split=split,
        classes=classes,
        pixels=torch.from_numpy(np.ascontiguousarray(pixels)),
        labels=torch.as_tensor(labels, dtype=torch.int64),
        positions=torch.arange(len(labels)),
    )


def _explanation(name: str, root: Path, download: bool, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if download:
        return f"{name} could not be downloaded to {root} ({reason}): check the connection, or put its files there."
    reason = reason.removesuffix(" You can use download=True to download it").rstrip(".")  # names a Python argument
    return (
        f"{name} is missing, incomplete or damaged in {root} ({reason}): "
        "add --download, or use --data imagefolder for a tree of image files."
    )


def _read(name: str, root: Path, split: str, download: bool) -> tuple[np.ndarray[Any, Any], Any, tuple[str, ...]]:
    """Returns uint8 pixels (N, C, H, W), labels and the names of the classes."""
    sets: Any = importlib.import_module("torchvision.datasets")  # only now, because it takes seconds
    if name == "svhn":
        data = sets.SVHN(root, split=split, download=download)
        return data.data, data.labels, _DIGITS
    data = getattr(sets, _CLASSES[name])(root, train=split == "train", download=download)
    if name in ("cifar10", "cifar100"):
        return data.data.transpose(0, 3, 1, 2), data.targets, tuple(data.classes)
    return data.data.numpy()[:, None], data.targets, _DIGITS if name == "mnist" else tuple(data.classes)
