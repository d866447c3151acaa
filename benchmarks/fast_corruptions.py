"""The fastest ways known to us to corrupt one image without robustcsc, which `speed/corruptions.py` compares with.

The definitions are those of `reference_corruptions.py`, in float32 or 8 bits wherever that keeps them: tables instead
of sums of levels, OpenCV's or Pillow's compiled filters, photographs and constants kept. Where the image is random only
the distribution is kept. A function takes a uint8 image of rows x columns x RGB, the level of a severity table of
robustcsc and a random generator, and returns a uint8 image.

Needs NumPy and Pillow. With OpenCV, the corruptions of `with_opencv` are there, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

try:
    import cv2
except ImportError:
    cv2 = None

Array = np.ndarray
Level = dict[str, float]
Generator = np.random.Generator
Corrupt = Callable[[Array, Level, Generator], Array]


def cut(levels: Array) -> Array:
    """Float levels, overwritten, clipped and truncated to 8 bits."""
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def gaussian_noise(image: Array, level: Level, rng: Generator) -> Array:
    """One normal number a value, in float32."""
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= np.float32(255 * level["std"])
    noise += image
    return cut(noise)


def speckle_noise(image: Array, level: Level, rng: Generator) -> Array:
    """One normal number a value, in float32."""
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= np.float32(level["std"])
    noise += 1
    noise *= image
    return cut(noise)


def shot_noise(image: Array, level: Level, rng: Generator) -> Array:
    """One Poisson number a value, turned into a level by a table."""
    rates = np.arange(256) * (level["photons"] / 255)
    levels = np.minimum(np.arange(2 * int(level["photons"]) + 200) * (255 / level["photons"]), 255).astype(np.uint8)
    return levels.take(rng.poisson(rates.take(image)), mode="clip")


def impulse_noise(image: Array, level: Level, rng: Generator) -> Array:
    """One random word of 16 bits a value, whose ends are pepper and salt."""
    words = np.frombuffer(rng.bytes(2 * image.size), np.uint16).reshape(image.shape)
    share = round(level["share"] * 32768)
    result = image.copy()
    result[words < share] = 0
    result[words >= 65536 - share] = 255
    return result


def gaussian_blur(image: Array, level: Level, rng: Generator) -> Array:
    """OpenCV's separable filter in float32."""
    return cut(smoothed(image.astype(np.float32), level["sigma"]))


def smoothed(levels: Array, sigma: float) -> Array:
    """A Gaussian over 4 standard deviations, the border repeated."""
    taps = np.exp(-(np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    return cv2.sepFilter2D(levels, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)


@lru_cache
def disc(radius: float, alias_sigma: float) -> Array:
    """The kernel of the defocus blur."""
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    grid = np.arange(-reach, reach + 1)
    flat = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(flat / flat.sum(), (size, size), alias_sigma)
    inside = np.flatnonzero(kernel.max(0) > 1e-10)
    return np.ascontiguousarray(kernel[inside[0] : inside[-1] + 1, inside[0] : inside[-1] + 1])


def defocus_blur(image: Array, level: Level, rng: Generator) -> Array:
    """OpenCV's filter in float32."""
    return cut(cv2.filter2D(image.astype(np.float32), -1, disc(level["radius"], level["alias_sigma"])))


def ray(radius: int, sigma: float, angle: float) -> Array:
    """The one-sided kernel of the motion blur, as OpenCV correlates it."""
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2.0 * sigma**2))
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1), np.float32)
    columns = np.ceil(taps * np.cos(np.deg2rad(angle)) - 0.5).astype(int)
    rows = np.ceil(taps * np.sin(np.deg2rad(angle)) - 0.5).astype(int)
    np.add.at(kernel, (rows + 2 * radius, columns + 2 * radius), (weights / weights.sum()).astype(np.float32))
    return kernel


def smeared(levels: Array, level: Level, angle: float) -> Array:
    """Blurs float32 levels by motion: a sum of shifted images, or OpenCV's filter where that is faster."""
    radius = int(level["radius"])
    if levels.shape[0] > 64:
        kernel = ray(radius, level["sigma"], angle)
        return cv2.filter2D(levels, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    padded = cv2.copyMakeBorder(levels, *(4 * (2 * radius,)), cv2.BORDER_REPLICATE)
    kernel, (height, width) = ray(radius, level["sigma"], angle), levels.shape[:2]
    total = np.zeros_like(levels)
    for row, column in zip(*kernel.nonzero(), strict=True):
        total += kernel[row, column] * padded[row : row + height, column : column + width]
    return total


def motion_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Blurs along a random direction."""
    return cut(smeared(image.astype(np.float32), level, rng.uniform(-45, 45)))


def enlarged(levels: Array, factor: float) -> Array:
    """The centre, enlarged to the size of the image by OpenCV's affine warp."""
    side = levels.shape[0]
    small = int(np.ceil(side / factor))
    large = round(small * factor)
    step, shift = (small - 1) / max(1, large - 1), (large - side) // 2
    offset = shift * step + (side - small) // 2
    maps = np.array([[step, 0, offset], [0, step, offset]])
    return cv2.warpAffine(levels, maps, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def zoom_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Averages enlargements."""
    levels = image.astype(np.float32)
    factors = np.arange(1 + level["step"], level["last"] + level["step"] / 2, level["step"])
    total = 2 * levels
    for factor in factors:
        total += enlarged(levels, factor)
    total /= len(factors) + 2
    return cut(total)


def snow(image: Array, level: Level, rng: Generator) -> Array:
    """Whitens the image and adds smeared flakes."""
    layer = rng.standard_normal(image.shape[:2], np.float32)
    layer *= level["std"]
    layer += level["mean"]
    layer = enlarged(layer, level["zoom"])
    layer[layer < level["threshold"]] = 0
    flakes = np.floor(smeared(np.floor(np.clip(layer, 0, 1) * 255), level, rng.uniform(-135, -45)))
    flakes += flakes[::-1, ::-1].copy()
    levels, weight = image.astype(np.float32), np.float32(level["image_weight"])
    white = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)
    white *= 1.5
    white += 127.5
    result = np.maximum(levels, white[..., None])
    result *= 1 - weight
    levels *= weight
    result += levels
    result += flakes[..., None]
    return cut(result)


def frost(image: Array, level: Level, rng: Generator) -> Array:
    """Blends in a crop of a photograph that is kept in memory, in float32."""
    photograph = photographs(level["texture_scale"])[int(rng.integers(5))]
    height, width = image.shape[:2]
    top = rng.integers(photograph.shape[0] - height)
    left = rng.integers(photograph.shape[1] - width)
    total = image * np.float32(level["image_weight"])
    total += photograph[top : top + height, left : left + width] * np.float32(level["frost_weight"])
    return np.minimum(total, 255, out=total).astype(np.uint8)


@lru_cache
def photographs(scale: float) -> list[Array]:
    """The five photographs of frost that robustcsc has, shrunk, (H, W, 3)."""
    import torch

    from robustcsc.corruptions.textures import load_textures

    textures = load_textures(None, scale, torch.device("cpu"))
    starts = textures.starts.tolist()
    flat = textures.pixels.numpy()
    return [
        np.ascontiguousarray(np.moveaxis(flat[start : start + 3 * rows * columns].reshape(3, rows, columns), 0, -1))
        for start, (rows, columns) in zip(starts, textures.sizes, strict=True)
    ]


def fog(image: Array, level: Level, rng: Generator) -> Array:
    """Adds a map of fog by the diamond-square algorithm, in float32."""
    side = max(2, 1 << (max(image.shape[:2]) - 1).bit_length())
    terrain = np.zeros((side, side), np.float32)
    step, size = side, 1.0
    while step >= 2:
        half, count = step // 2, side // step
        draws = rng.random((3, count, count), np.float32)
        draws -= 0.5
        draws *= np.float32(size * size)
        corners = terrain[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        centres = (pairs + np.roll(pairs, -1, 1)) * np.float32(0.25) + draws[0]
        across = corners + np.roll(corners, -1, 1) + centres + np.roll(centres, 1, 0)
        terrain[::step, half::step] = across * np.float32(0.25) + draws[1]
        terrain[half::step, ::step] = (pairs + centres + np.roll(centres, 1, 1)) * np.float32(0.25) + draws[2]
        terrain[half::step, half::step] = centres
        step, size = half, size / level["decay"]
    low, high = terrain.min(), terrain.max()
    largest = np.float32(image.max() / 255)
    share = largest / (largest + level["strength"])
    total = image * np.float32(share)
    clipped = terrain[: image.shape[0], : image.shape[1], None] - low
    total += clipped * np.float32(255 * level["strength"] * share / (high - low))
    return cut(total)


def brightness(image: Array, level: Level, rng: Generator) -> Array:
    """Raises V of HSV: a factor for each pixel."""
    value = image.max(-1)
    steps = np.arange(256) / 255
    factors = (np.clip(steps + level["shift"], 0, 1) / np.maximum(steps, 1 / 510)).astype(np.float32)
    levels = image.astype(np.float32)
    levels[value == 0] = 0.5
    levels *= factors.take(value)[..., None]
    levels += np.float32(1e-4)
    return cut(levels)


def saturate(image: Array, level: Level, rng: Generator) -> Array:
    """Scales S of HSV: a factor for the distance of each pixel from its V."""
    value, low = (each.astype(np.float32) for each in (image.max(-1), image.min(-1)))
    chroma = value - low
    scaled = np.clip(chroma * np.float32(level["gain"]) + value * np.float32(level["shift"]), 0, value)
    distance = value[..., None] - image
    distance[..., 1:] += (chroma == 0)[..., None]
    distance *= (scaled / np.maximum(chroma, 1))[..., None]
    return cut(value[..., None] - distance)


def contrast(image: Array, level: Level, rng: Generator) -> Array:
    """Moves levels towards the mean of their channel: a table for each channel."""
    means = image.reshape(-1, 3).mean(0, dtype=np.float32)
    tables = np.clip((np.arange(256)[:, None] - means) * level["factor"] + means, 0, 255).astype(np.uint8)
    return np.stack([tables[:, channel].take(image[..., channel]) for channel in range(3)], -1)


def elastic_transform(image: Array, level: Level, rng: Generator) -> Array:
    """Warps by a random affine map and by a smooth random displacement."""
    levels, side = image.astype(np.float32), image.shape[0]
    points = np.array([[1, 1], [1, -1], [-1, -1]], np.float32) * (side // 3) + side // 2
    moved = points + rng.uniform(-level["affine"], level["affine"], points.shape).astype(np.float32)
    maps = cv2.getAffineTransform(points, moved)
    levels = cv2.warpAffine(levels, maps, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    reach = int(3 * level["sigma"] + 0.5)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * level["sigma"] ** 2))
    taps *= 1 / taps.sum()
    fields = rng.random((side, side, 2), np.float32)
    fields *= 2
    fields -= 1
    fields = cv2.sepFilter2D(fields, -1, taps, taps * level["alpha"], borderType=cv2.BORDER_REFLECT)
    grid = np.arange(side, dtype=np.float32)
    fields[..., 0] += grid
    fields[..., 1] += grid[:, None]
    return cut(cv2.remap(levels, fields, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def pixelate(image: Array, level: Level, rng: Generator) -> Array:
    """Pillow's box filter."""
    side = image.shape[0]
    small = int(side * level["scale"])
    picture = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
    return np.asarray(picture.resize((side, side), Image.Resampling.NEAREST))


def jpeg_compression(image: Array, level: Level, rng: Generator) -> Array:
    """Writes and reads a JPEG file in memory with Pillow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(level["quality"]))
    return np.asarray(Image.open(file))


def wet(drops: Array) -> Array:
    """Float32, how much light drops of water throw back, from their uint8 heights."""
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    relief = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    distance = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, relief)
    return drops * cv2.blur(distance, (3, 3)).astype(np.float32)


def spatter(image: Array, level: Level, rng: Generator) -> Array:
    """Adds drops of water (severities 1 to 3) or mud."""
    field = rng.standard_normal(image.shape[:2], np.float32)
    field *= level["std"]
    field += level["mean"]
    field = smoothed(field, level["sigma"])
    levels = image.astype(np.float32)
    if level["mud"]:
        cover = smoothed((field > level["threshold"]).astype(np.float32), level["strength"])
        cover[cover < 0.8] = 0
        return cut(levels + cover[..., None] * (np.array([63, 42, 20], np.float32) - levels))
    field[field < level["threshold"]] = 0
    drops = (field * 255).astype(np.int32).astype(np.uint8)
    cover = wet(drops)
    cover *= level["strength"] / max(cover.max(), 1)
    levels += cover[..., None] * np.array([175, 238, 238], np.float32)
    return cut(levels)


FORMS: dict[str, Corrupt] = {
    each.__name__: each
    for each in (
        *(gaussian_noise, shot_noise, impulse_noise, frost, fog, brightness, contrast, pixelate, jpeg_compression),
        *(speckle_noise, saturate),
    )
}


def with_opencv() -> dict[str, Corrupt]:
    """The forms that need OpenCV, none where it is not installed."""
    forms = (defocus_blur, motion_blur, zoom_blur, snow, elastic_transform, gaussian_blur, spatter)
    return {form.__name__: form for form in forms} if cv2 else {}
