"""Applying corruptions to batches of images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustcsc.corruptions.catalog import BYTE_KERNELS, KERNELS
from robustcsc.corruptions.digital import as_jpeg
from robustcsc.corruptions.draws import by_blocks, image_seeds
from robustcsc.corruptions.filters import as_bytes, on_device
from robustcsc.data.images import as_floats
from robustcsc.errors import DataError, SpecError, UnknownNameError
from robustcsc.measurements.kernels import parameter_problem
from robustcsc.measurements.perturbations import JPEG_QUALITY, SEVERITIES, Pixels
from robustcsc.measurements.severity_tables import Spec


def corrupt(
    images: Tensor,
    spec: Spec,
    corruption: str,
    severity: int,
    *,
    seed: int,
    indices: Tensor,
    as_published: bool = False,
) -> Tensor:
    """Returns the images under one corruption of a severity table.

    An image's result depends on (seed, corruption, severity, its index) only, not on the batch: the bits are the same
    on one device. Different devices may differ in bits.

    Args:
        images: (N, C, H, W) float32 or float64, pixels in [0, 1]; or uint8, which is faster than floats that are
            truncated, with the same results.
        spec: The severity table.
        corruption: Name of a corruption of the table.
        severity: 1 to 5; 0 returns the images unchanged.
        seed: Seed of the run.
        indices: (N,) int64, position of each image in its data set.
        as_published: Whether the result is what files with the pixels of the table give back: truncated to 8 bits,
            ``floor(255 y) / 255``, which bytes always are, and for ImageNet-C compressed as JPEG of quality 85.

    Returns:
        (N, C, H, W) of the images' type and device, in [0, 1]; of bytes x, ``floor(255 y)`` for the y of ``x / 255``.
        Severity 0 returns the images themselves, as published, too.

    Raises:
        UnknownNameError: If the table has no such corruption.
        SpecError: If the severity is not an integer from 0 to 5.
        DataError: If the images or indices have another form, or the corruption cannot be applied to such images.

    Examples:
        >>> import robustcsc as rc
        >>> grey, table = torch.full((100, 1, 8, 8), 0.5), rc.load_spec("cifar10_c")
        >>> noisy = rc.corrupt(grey, table, "gaussian_noise", 5, seed=0, indices=torch.arange(100))
        >>> f"standard deviation {noisy.std():.2f}, in the table {table.corruptions['gaussian_noise'].levels[4]['std']}"
        'standard deviation 0.10, in the table 0.1'
    """
    if corruption not in spec.corruptions:
        raise UnknownNameError("corruption", corruption, spec.corruptions)
    if type(severity) is not int or severity not in (0, *SEVERITIES):
        raise SpecError(f"Severity must be an integer from 0 (clean) to 5, not {severity!r}.")
    _check(images, "Indices", indices)
    if severity == 0:
        return images
    corrupted = corrupt_unchecked(images, spec, corruption, severity, seed=seed, indices=indices)
    if not as_published or spec.pixels is Pixels.FLOAT:
        return corrupted
    if images.dtype == torch.uint8:
        return stored(corrupted, spec.pixels)
    return stored(as_bytes(corrupted), spec.pixels).to(images.dtype).div_(on_device(255.0, images))


def stored(images: Tensor, pixels: Pixels) -> Tensor:
    """Returns (N, C, H, W) uint8 images as files give them back: themselves, or compressed as JPEG of quality 85.

    Raises:
        DataError: If a JPEG file cannot hold them.
    """
    return as_jpeg(images, JPEG_QUALITY, "JPEG files need") if pixels is Pixels.JPEG else images


def changed_and_stored(images: Tensor, pixels: Pixels, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns images as a model sees them after a change that was stored.

    Args:
        images: (N, C, H, W) uint8.
        pixels: How the changed images are stored.
        change: Takes floats in [0, 1] or uint8, and returns the same, as `corrupt` does.

    Returns:
        (N, C, H, W) float32 in [0, 1].
    """
    if pixels is Pixels.FLOAT:
        return change(as_floats(images, images.device))
    return as_floats(stored(change(images), pixels), images.device)


def corrupt_unchecked(
    images: Tensor, spec: Spec, corruption: str, severity: int, *, seed: int, indices: Tensor
) -> Tensor:
    """As `corrupt` at a severity from 1, of images known to be as it says: no value is read back to check them."""
    entry = spec.corruptions[corruption]
    seeds = image_seeds(seed, corruption, severity, indices.to(images.device))
    photographs = {"textures": spec.frost_root} if entry.kernel == "frost" else {}
    return _change(images, seeds, entry.kernel, {**entry.levels[severity - 1], **photographs})


def apply_kernel(images: Tensor, kernel: str, parameters: Mapping[str, float], seeds: Tensor) -> Tensor:
    """Returns the images under a kernel at any strength.

    Args:
        images: (N, C, H, W) float32 or float64, pixels in [0, 1], or uint8.
        kernel: Key of `KERNELS`.
        parameters: The kernel's parameters by name.
        seeds: (N,) int64, from `image_seeds`.

    Returns:
        (N, C, H, W) of the images' type and device, in [0, 1], or truncated to bytes.

    Raises:
        UnknownNameError: If there is no such kernel.
        SpecError: If a parameter is missing, unknown or out of range.
        DataError: If the images or seeds have another form, or the kernel cannot be applied to such images.
    """
    if kernel not in KERNELS:
        raise UnknownNameError("corruption kernel", kernel, KERNELS)
    if problem := parameter_problem(kernel, parameters):
        raise SpecError(f"Parameters of {kernel}: {problem}.")
    _check(images, "Seeds", seeds)
    return _change(images, seeds.to(images.device), kernel, parameters)


def _change(images: Tensor, seeds: Tensor, kernel: str, parameters: Mapping[str, Any]) -> Tensor:
    """Applies a kernel to floats, or to bytes: the same images as floats, a few at a time, unless it takes bytes."""
    change = partial(KERNELS[kernel], **parameters)
    if images.dtype != torch.uint8 or kernel in BYTE_KERNELS:
        return change(images, seeds)
    return by_blocks(lambda block, keys: as_bytes(change(as_floats(block, block.device), keys)), images, seeds)


def _check(images: Tensor, name: str, numbers: Tensor) -> None:
    """Raises DataError unless images are (N, C, H, W) bytes or floats in [0, 1], and numbers (N,) int64."""
    if images.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise DataError(f"Images must be uint8, or float32 or float64 with pixels in [0, 1], not {images.dtype}.")
    if images.dim() != 4:
        raise DataError(f"Images must have the shape (N, C, H, W), not {tuple(images.shape)}.")
    if images.dtype != torch.uint8:
        _check_pixels(images)
    if numbers.shape != images.shape[:1] or numbers.dtype != torch.int64:
        raise DataError(
            f"{name} must be int64 of shape ({len(images)},), one per image, not {numbers.dtype} of shape "
            f"{tuple(numbers.shape)}."
        )


def _check_pixels(images: Tensor) -> None:
    """Raises DataError unless pixels are in [0, 1]."""
    low, high = (float(bound) for bound in images.detach().aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= 0.0 and high <= 1.0):
        if torch.isfinite(images).all():
            raise DataError(f"Images must have pixels in [0, 1], not {low:g} to {high:g}; divide 8-bit values by 255.")
        raise DataError("Images must be finite, but some pixels are NaN or infinite.")
