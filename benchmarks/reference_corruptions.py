"""The corruptions as image-by-image NumPy, SciPy, scikit-image and OpenCV code, for `corruptions.py` to compare with.

Written from the published definitions (D. Hendrycks and T. Dietterich, ICLR 2019) in the manner of the original: one
uint8 image of rows x columns x RGB in, one out, float64 or float32 in between, whole-array operations where the
original has them. Where there was a choice the faster way was taken (NumPy's new generators, all channels in one OpenCV
call). Every function takes the image, the level of a severity table of robustcsc and a random generator.

Needs numpy, scipy, scikit-image, opencv-python and Pillow, but neither PyTorch nor robustcsc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from fast_corruptions import Array, Generator, Level, jpeg_compression, wet  # noqa: F401 (asked for by name)
from PIL import Image
from scipy.ndimage import map_coordinates, zoom
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian
from skimage.util import random_noise

FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def to_bytes(image: Array) -> Array:
    """Pixels in [0, 1] clipped and truncated to 8 bits."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image: Array, level: Level, rng: Generator) -> Array:
    """Adds normal noise."""
    x = image / 255.0
    return to_bytes(x + rng.normal(scale=level["std"], size=x.shape))


def speckle_noise(image: Array, level: Level, rng: Generator) -> Array:
    """Adds normal noise proportional to the pixel."""
    x = image / 255.0
    return to_bytes(x + x * rng.normal(scale=level["std"], size=x.shape))


def shot_noise(image: Array, level: Level, rng: Generator) -> Array:
    """Counts photons."""
    return to_bytes(rng.poisson(image / 255.0 * level["photons"]) / level["photons"])


def impulse_noise(image: Array, level: Level, rng: Generator) -> Array:
    """Replaces values by black or white."""
    return to_bytes(random_noise(image / 255.0, mode="s&p", rng=rng, amount=level["share"]))


def gaussian_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Blurs with a Gaussian."""
    return to_bytes(gaussian(image / 255.0, sigma=level["sigma"], channel_axis=-1))


def defocus_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Blurs with a disc."""
    reach, size = (8, 3) if level["radius"] <= 8 else (int(level["radius"]), 5)
    grid = np.arange(-reach, reach + 1)
    disc = (grid[:, None] ** 2 + grid**2 <= level["radius"] ** 2).astype(np.float32)
    kernel = cv2.GaussianBlur(disc / disc.sum(), (size, size), level["alias_sigma"])
    return to_bytes(cv2.filter2D(image / 255.0, -1, kernel))


def shuffle(x: Array, distance: int, passes: int) -> None:
    """Copies to each pixel a random near one, in place, pixel after pixel; also compiled with numba."""
    height, width = x.shape[:2]
    for _ in range(passes):
        for row in range(height - distance, distance, -1):
            for column in range(width - distance, distance, -1):
                dx, dy = np.random.randint(-distance, distance, 2)
                x[row, column] = x[row + dy, column + dx]


@lru_cache
def compiled_shuffle() -> Callable[..., None]:
    """`shuffle` compiled by numba."""
    from numba import njit

    return njit(shuffle)


def glass_blur(image: Array, level: Level, rng: Generator, *, compiled: bool = False) -> Array:
    """Blurs, shuffles near pixels, blurs again."""
    sigma = level["sigma"]
    x = to_bytes(gaussian(image / 255.0, sigma=sigma, channel_axis=-1))
    (compiled_shuffle() if compiled else shuffle)(x, int(level["distance"]), int(level["passes"]))
    return to_bytes(gaussian(x / 255.0, sigma=sigma, channel_axis=-1))


def glass_blur_compiled(image: Array, level: Level, rng: Generator) -> Array:
    """As `glass_blur`, its loop compiled by numba."""
    return glass_blur(image, level, rng, compiled=True)


def smear(x: Array, radius: int, sigma: float, angle: float) -> Array:
    """Float32, the one-sided motion blur along a ray at an angle in degrees."""
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    columns = np.ceil(taps * np.cos(np.deg2rad(angle)) - 0.5).astype(int)
    rows = np.ceil(taps * np.sin(np.deg2rad(angle)) - 0.5).astype(int)
    height, width = x.shape[:2]
    edge = 2 * radius
    padded = cv2.copyMakeBorder(x.astype(np.float32), edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    result = np.zeros(x.shape, np.float32)
    for weight, row, column in zip(weights.astype(np.float32), rows + edge, columns + edge, strict=True):
        result += weight * padded[row : row + height, column : column + width]
    return result


def motion_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Blurs along a random direction."""
    return smear(image, int(level["radius"]), level["sigma"], rng.uniform(-45, 45)).clip(0, 255).astype(np.uint8)


def enlarge(x: Array, factor: float) -> Array:
    """The centre of an image (H, W, C), enlarged to the size of the image."""
    side = x.shape[0]
    small = int(np.ceil(side / factor))
    first = (side - small) // 2
    large = zoom(x[first : first + small, first : first + small], (factor, factor, 1), order=1)
    first = (large.shape[0] - side) // 2
    return large[first : first + side, first : first + side]


def zoom_blur(image: Array, level: Level, rng: Generator) -> Array:
    """Averages enlargements of the image."""
    x = (image / 255.0).astype(np.float32)
    factors = np.arange(1, level["last"] + level["step"] / 2, level["step"])
    total = np.zeros_like(x)
    for factor in factors:
        total += enlarge(x, factor)
    return to_bytes((x + total) / (len(factors) + 1))


def snow(image: Array, level: Level, rng: Generator) -> Array:
    """Whitens the image and adds smeared flakes."""
    x = image.astype(np.float32) / 255
    layer = rng.normal(level["mean"], level["std"], x.shape[:2])
    layer = enlarge(layer[..., None], level["zoom"])[..., 0]
    layer[layer < level["threshold"]] = 0
    smeared = smear(to_bytes(layer), int(level["radius"]), level["sigma"], rng.uniform(-135, -45))
    flakes = (smeared.astype(np.uint8) / 255.0)[..., None]
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    weight = level["image_weight"]
    x = weight * x + (1 - weight) * np.maximum(x, grey * 1.5 + 0.5)
    return to_bytes(x + flakes + np.rot90(flakes, 2))


def open_frost(folder: Path, index: int, scale: float) -> Array:
    """One of the photographs of frost, RGB, shrunk."""
    photograph = cv2.imread(str(folder / FROST_FILES[index]))
    if scale < 1:
        photograph = cv2.resize(photograph, (0, 0), fx=scale, fy=scale)
    return cv2.cvtColor(photograph, cv2.COLOR_BGR2RGB)


open_frost_once = lru_cache(open_frost)


def frost(image: Array, level: Level, rng: Generator, *, keep: bool = False) -> Array:
    """Blends in a crop of a photograph of frost, which the original opens for every image."""
    index, scale = int(rng.integers(5)), level["texture_scale"]
    photograph = (open_frost_once if keep else open_frost)(frost_folder(), index, scale)
    height, width = image.shape[:2]
    top = rng.integers(photograph.shape[0] - height)
    left = rng.integers(photograph.shape[1] - width)
    crop = photograph[top : top + height, left : left + width]
    return np.clip(level["image_weight"] * image + level["frost_weight"] * crop, 0, 255).astype(np.uint8)


def frost_kept(image: Array, level: Level, rng: Generator) -> Array:
    """As `frost`, the photographs kept in memory."""
    return frost(image, level, rng, keep=True)


@lru_cache
def frost_folder() -> Path:
    """Folder of the original photographs, which the package imagecorruptions-imaug contains."""
    import imagecorruptions

    return Path(imagecorruptions.__file__).parent / "frost"


def plasma(side: int, decay: float, rng: Generator) -> Array:
    """A map of fog by the diamond-square algorithm, scaled to reach from 0 to 1."""
    terrain = np.zeros((side, side))
    step, width = side, 100.0
    while step >= 2:
        half = step // 2

        def spread(count: int, reach: float = width**2) -> Array:
            return rng.uniform(-reach, reach, (count, count))

        corners = terrain[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        terrain[half::step, half::step] = (pairs + np.roll(pairs, -1, axis=1)) / 4 + spread(side // step)
        centres = terrain[half::step, half::step]
        across = corners + np.roll(corners, -1, axis=1) + centres + np.roll(centres, 1, axis=0)
        terrain[::step, half::step] = across / 4 + spread(side // step)
        down = corners + np.roll(corners, -1, axis=0) + centres + np.roll(centres, 1, axis=1)
        terrain[half::step, ::step] = down / 4 + spread(side // step)
        step, width = half, width / decay
    terrain -= terrain.min()
    return terrain / terrain.max()


def fog(image: Array, level: Level, rng: Generator) -> Array:
    """Adds a map of fog."""
    x = image / 255.0
    side = 1 << (x.shape[0] - 1).bit_length()
    largest, strength = x.max(), level["strength"]
    x += strength * plasma(side, level["decay"], rng)[: x.shape[0], : x.shape[1], None]
    return to_bytes(x * largest / (largest + strength))


def brightness(image: Array, level: Level, rng: Generator) -> Array:
    """Raises V of HSV."""
    x = rgb2hsv(image / 255.0)
    x[..., 2] = np.clip(x[..., 2] + level["shift"], 0, 1)
    return to_bytes(hsv2rgb(x))


def saturate(image: Array, level: Level, rng: Generator) -> Array:
    """Scales S of HSV."""
    x = rgb2hsv(image / 255.0)
    x[..., 1] = np.clip(x[..., 1] * level["gain"] + level["shift"], 0, 1)
    return to_bytes(hsv2rgb(x))


def contrast(image: Array, level: Level, rng: Generator) -> Array:
    """Moves pixels towards the mean of their channel."""
    x = image / 255.0
    means = x.mean(axis=(0, 1), keepdims=True)
    return to_bytes((x - means) * level["factor"] + means)


def smooth(field: Array, sigma: float) -> Array:
    """A field blurred over 3 standard deviations, mirrored at its border."""
    return gaussian(field, sigma=sigma, mode="reflect", truncate=3)


def elastic_transform(image: Array, level: Level, rng: Generator) -> Array:
    """Warps by a random affine map and by a smooth random displacement."""
    x = image.astype(np.float32) / 255
    side = x.shape[0]
    middle, third = side // 2, side // 3
    points = np.array([[1, 1], [1, -1], [-1, -1]], np.float32) * third + middle
    moved = points + rng.uniform(-level["affine"], level["affine"], points.shape).astype(np.float32)
    x = cv2.warpAffine(x, cv2.getAffineTransform(points, moved), (side, side), borderMode=cv2.BORDER_REFLECT_101)
    columns, rows = (
        grid + level["alpha"] * smooth(rng.uniform(-1, 1, (side, side)), level["sigma"])
        for grid in np.meshgrid(np.arange(side), np.arange(side))
    )
    warped = [map_coordinates(x[..., channel], (rows, columns), order=1, mode="reflect") for channel in range(3)]
    return to_bytes(np.stack(warped, axis=-1))


def pixelate(image: Array, level: Level, rng: Generator) -> Array:
    """Shrinks and enlarges with Pillow's box filter."""
    side = image.shape[0]
    small = int(side * level["scale"])
    picture = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def spatter(image: Array, level: Level, rng: Generator) -> Array:
    """Adds drops of water or mud."""
    x = image.astype(np.float32) / 255
    drops = gaussian(rng.normal(level["mean"], level["std"], x.shape[:2]), sigma=level["sigma"])
    drops[drops < level["threshold"]] = 0
    if level["mud"]:
        cover = gaussian((drops > level["threshold"]).astype(np.float32), sigma=level["strength"])
        cover[cover < 0.8] = 0
        return to_bytes(x * (1 - cover[..., None]) + cover[..., None] * (np.array([63, 42, 20]) / 255))
    drops = (drops * 255).astype(np.int64).astype(np.uint8)
    cover = wet(drops)
    cover *= level["strength"] / cover.max()
    return to_bytes(x + cover[..., None] * (np.array([175, 238, 238]) / 255))
