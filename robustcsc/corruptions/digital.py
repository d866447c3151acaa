"""Brightness, contrast, saturation, pixelation and JPEG: the corruptions without random draws.

Every corruption takes images (N, C, H, W), float with pixels in [0, 1], and returns the same, clipped to [0, 1];
pixelation and JPEG also take and return bytes. The seeds, which all kernels take, are not used.

Source of the definitions: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial, reduce

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from robustcsc.corruptions.draws import by_blocks
from robustcsc.corruptions.filters import on_device
from robustcsc.corruptions.jpeg import through_jpeg
from robustcsc.data.jpeg import JpegTrip, jpeg_trip
from robustcsc.errors import DataError

_Bytes = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]

_PRECISION = 22  # bits after the point of the weights that Pillow resizes 8-bit images with
_LIBRARY_PIXELS = 96 * 96  # size of images from which Pillow and libjpeg are faster on a CPU


def brightness(images: Tensor, seeds: Tensor, *, shift: float) -> Tensor:
    """Returns the images with `shift`, -1 to 1, added to the value V = max(R, G, B) of HSV, hue and saturation kept.

    Computed without conversion to HSV: ``x V' / V`` with ``V' = clip(V + shift, 0, 1)``, and V' where V is 0. For one
    channel this is ``x + shift``.
    """
    return by_blocks(partial(_brighten, shift=shift), images)


def _brighten(images: Tensor, shift: float) -> Tensor:
    if images.shape[1] == 1:
        return (images + shift).clamp_(0.0, 1.0)
    value = reduce(torch.maximum, images.chunk(images.shape[1], dim=1))
    raised = (value + shift).clamp_(0.0, 1.0)
    black = value == 0.0
    scaled = images * raised.div_(torch.where(black, 1.0, value))
    return torch.where(black, raised, scaled).clamp_(0.0, 1.0)


def contrast(images: Tensor, seeds: Tensor, *, factor: float) -> Tensor:
    """Returns ``m + factor (x - m)``, m being the mean of each channel of each image over its pixels.

    `factor` is at least 0; below 1 it lowers the contrast.
    """
    return by_blocks(partial(_scale_contrast, factor=factor), images)


def _scale_contrast(images: Tensor, factor: float) -> Tensor:
    offset = (_pixel_mean(images) * (1.0 - factor)).to(images.dtype)
    return (images * factor).add_(offset).clamp_(0.0, 1.0)


def _pixel_mean(images: Tensor) -> Tensor:
    """(N, C, 1, 1) float64, means over the pixels, always summed in the same order.

    `Tensor.mean` may split a long sum among threads when there is no other work to share, as for one grey image.
    """
    sums = images.to(torch.float64).flatten(2)
    while sums.shape[2] > 1:
        half = sums.shape[2] // 2
        odd = sums[:, :, 2 * half :]
        sums = torch.cat([sums[:, :, :half] + sums[:, :, half : 2 * half], odd], dim=2)
    return sums.unsqueeze(3) / float(images.shape[2] * images.shape[3])


def saturate(images: Tensor, seeds: Tensor, *, gain: float, shift: float) -> Tensor:
    """Returns the images with the saturation S of HSV replaced by ``clip(gain S + shift, 0, 1)``.

    `gain` is at least 0, `shift` from -1 to 1. Computed without conversion to HSV: with V the largest and d the largest
    minus the smallest of R, G and B, ``V - (V - x) V S' / d``. A grey pixel has S = 0 and, by convention, the hue red:
    it becomes ``(V, V (1 - S'), V (1 - S'))``, reddish where `shift` is positive.

    Raises:
        DataError: If the images are not in colour.
    """
    if images.shape[1] != 3:
        raise DataError(f"Corruption saturate needs colour images of 3 channels, not {images.shape[1]}.")
    return by_blocks(partial(_scale_saturation, gain=gain, shift=shift), images)


def _scale_saturation(images: Tensor, gain: float, shift: float) -> Tensor:
    channels = images.chunk(3, dim=1)
    value = reduce(torch.maximum, channels)
    chroma = value - reduce(torch.minimum, channels)
    grey = chroma == 0.0
    # V S' = V clip(gain d / V + shift, 0, 1), without a division that black would make 0 / 0.
    scaled = torch.minimum((chroma * gain).add_(value * shift).clamp_(min=0.0), value)
    ratio = scaled.div_(torch.where(grey, 1.0, chroma))
    distance = value - images
    distance[:, 1:].add_(grey)
    return torch.sub(value, distance.mul_(ratio)).clamp_(0.0, 1.0)


def pixelate(images: Tensor, seeds: Tensor, *, scale: float) -> Tensor:
    """Returns the images shrunk to ``int(scale side)`` pixels and enlarged again, both by the box filter of Pillow.

    `scale` is in (0, 1]. The images are uint8 or rounded to 8 bits first; results are uint8 or multiples of 1/255. A
    pixel of the small image is the plain mean of the pixels whose centres lie in its box (not weighted by area), first
    along rows, then along columns, each time rounded to 8 bits. Enlarging repeats the nearest pixel.

    Raises:
        DataError: If the small image would have no pixels.
    """
    height, width = images.shape[2:]
    if int(height * scale) < 1 or int(width * scale) < 1:
        raise DataError(f"Corruption pixelate at scale {scale:g} leaves no pixel of images of {height}x{width} pixels.")
    if images.shape[1] == 3 and _suits_libraries(images):
        small = int(width * scale), int(height * scale)
        sides = zip(small, (width, height), strict=True)
        places = [_box_table(before, after, images.device)[0][0].numpy() for before, after in sides]
        return _through_library(partial(_box_trip, small=small, places=places), images.contiguous())
    return _on_bytes(partial(_shrink_and_enlarge, scale=scale), images)


def _box_trip(image: _Bytes, result: _Bytes, small: tuple[int, int], places: Sequence[_Places]) -> None:
    height, width = image.shape[1:]
    picture = Image.merge("RGB", [Image.frombuffer("L", (width, height), plane, "raw", "L", 0, 1) for plane in image])
    rows = picture.resize((small[0], height), Image.Resampling.BOX)  # or Pillow may begin with the columns
    across, down = places
    for plane, levels in zip(rows.resize(small, Image.Resampling.BOX).split(), result, strict=True):
        pixels = np.frombuffer(plane.tobytes(), np.uint8).reshape(small[::-1])
        pixels[:, across].take(down, 0, out=levels, mode="clip")  # the default mode would need a copy


def _shrink_and_enlarge(images: Tensor, scale: float) -> Tensor:
    levels = images.to(torch.int32)
    for dim in (3, 2):
        side = levels.shape[dim]
        sources, weights = _box_table(side, int(side * scale), images.device)
        weights = weights if dim == 3 else weights.unsqueeze(2)
        sums = _take(levels, dim, sources[0]).mul_(weights[0])
        for source, weight in zip(sources[1:], weights[1:], strict=True):
            sums.add_(_take(levels, dim, source).mul_(weight))
        levels = sums.add_(1 << (_PRECISION - 1)).bitwise_right_shift_(_PRECISION)
    levels = levels.to(torch.uint8)
    for dim in (3, 2):  # nothing is rounded here, so the order is free: the slow columns while there are few rows
        sources, _ = _box_table(levels.shape[dim], images.shape[dim], images.device)
        levels = _take(levels, dim, sources[0])
    return levels


def _take(images: Tensor, dim: int, sources: Tensor) -> Tensor:
    """The rows (`dim` 2) or columns (`dim` 3) of the given numbers; for columns `gather` is the faster of two ways."""
    if dim == 2:
        return images.index_select(2, sources)
    return images.gather(3, sources.expand(*images.shape[:3], -1))


@lru_cache(maxsize=64)
def _box_table(before: int, after: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Source pixels and integer weights of a side resized by Pillow's box filter.

    Returns:
        (T, after) int64 source pixels and (T, after) int32 weights, which sum to about 2^22 for each pixel of the
        result; where a pixel has fewer than T sources, the weight of the others is 0.
    """
    step = before / after
    box = max(step, 1.0)
    inverse = 1.0 / box  # a factor as in Pillow, so that centres on the edge of a box round in the same way
    members = []
    for pixel in range(after):
        centre = (pixel + 0.5) * step
        first, last = max(int(centre - 0.5 * box + 0.5), 0), min(int(centre + 0.5 * box + 0.5), before)
        members.append([each for each in range(first, last) if -0.5 < (each - centre + 0.5) * inverse <= 0.5])
    most = max(map(len, members))
    sources = [each + each[:1] * (most - len(each)) for each in members]
    weights = [
        [int(0.5 + (1 << _PRECISION) / len(each))] * len(each) + [0] * (most - len(each))  # rounded as Pillow does
        for each in members
    ]
    return (
        torch.tensor(sources, device=device).T.contiguous(),
        torch.tensor(weights, dtype=torch.int32, device=device).T.contiguous(),
    )


def jpeg_compression(images: Tensor, seeds: Tensor, *, quality: float) -> Tensor:
    """Returns the images after JPEG compression and decompression with 4:2:0 colour.

    `quality` is a whole number from 1 to 100. The images, of 1 or 3 channels, are uint8 or rounded to 8 bits first;
    results are uint8 or multiples of 1/255, those of `as_jpeg`.

    Raises:
        DataError: If the images have neither 1 nor 3 channels.
    """
    return as_jpeg(images, int(quality), "Corruption jpeg_compression needs")


def as_jpeg(images: Tensor, quality: int, needs: str) -> Tensor:
    """Returns the images as JPEG files with 4:2:0 colour give them back.

    Computed by `jpeg.through_jpeg`, which agrees with libjpeg in all bits. Large images on a CPU go through libjpeg
    itself, which is faster, in as many threads as PyTorch uses.

    Args:
        images: (N, C, H, W) uint8, or float, rounded to 8 bits first.
        quality: 1 to 100.
        needs: Who needs images that JPEG can hold, for the message.

    Raises:
        DataError: If the images have neither 1 nor 3 channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise DataError(f"{needs} images of 1 or 3 channels, not {channels}.")
    trip = jpeg_trip() if _suits_libraries(images) else None
    if trip is None:
        return _on_bytes(lambda levels: through_jpeg(levels.to(torch.float32), quality), images)
    return _through_library(partial(_file_trip, trip=trip, quality=quality), images)


def _file_trip(image: _Bytes, result: _Bytes, trip: JpegTrip, quality: int) -> None:
    pixels = image.transpose(1, 2, 0)
    if not pixels.flags.c_contiguous:
        pixels = np.stack(list(image), -1)  # by NumPy, which starts no threads of its own
    result[:] = trip(torch.from_numpy(pixels).permute(2, 0, 1), quality).numpy()


def _suits_libraries(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.shape[2] * images.shape[3] >= _LIBRARY_PIXELS


def _through_library(work: Callable[[_Bytes, _Bytes], None], images: Tensor) -> Tensor:
    """Applies `work` to each image; bytes need no blocks, since nothing but the results is held."""
    if images.dtype == torch.uint8:
        return _one_by_one(work, images)
    return _on_bytes(partial(_one_by_one, work), images)


def _one_by_one(work: Callable[[_Bytes, _Bytes], None], images: Tensor) -> Tensor:
    """Applies `work`, which writes to its second argument, to each image on a CPU, in as many threads as PyTorch."""
    results = torch.empty_like(images, memory_format=torch.contiguous_format)
    pairs, count = list(zip(images.numpy(), results.numpy(), strict=True)), torch.get_num_threads()

    def share(first: int) -> None:
        for pair in pairs[first::count]:
            work(*pair)

    if count == 1 or len(pairs) <= 1:
        share(0)
    else:
        with ThreadPoolExecutor(count) as threads:
            deque(threads.map(share, range(count)), maxlen=0)  # waits, and raises their errors
    return results


def _on_bytes(work: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Applies `work`, which turns uint8 into integers 0 to 255, to bytes, or to floats rounded to 8 bits."""
    if images.dtype == torch.uint8:
        return by_blocks(work, images)
    return by_blocks(lambda block: _pixels(work(_levels(block)), block), images)


def _levels(images: Tensor) -> Tensor:
    """Floats rounded to uint8; by way of int32, because PyTorch turns floats into bytes one by one."""
    return (images.detach() * 255.0).add_(0.5).to(torch.int32).to(torch.uint8)


def _pixels(levels: Tensor, images: Tensor) -> Tensor:
    """Integers 0 to 255 as pixels of the type of `images`."""
    return levels.to(images.dtype).div_(on_device(255.0, images))
