"""Snow, frost and fog.

Every corruption takes two steps, so that recorded draws can be replayed: random numbers from `draws`, then a function
of the images and those numbers. Results are clipped to [0, 1]. The layer of snow and the map of fog are drawn once per
image, for all channels.

Source of the definitions: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019, and the authors' generation scripts.
"""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from robustcsc.corruptions import filters
from robustcsc.corruptions.draws import by_blocks, normal, row_blocks, uniform
from robustcsc.corruptions.textures import Textures, crop, load_textures
from robustcsc.errors import DataError

# Weights such as 0.7 put many sums of whole levels on the boundary between two levels. Frost is therefore summed in
# float64 on 0..255, as in the original, and rounded down to this fraction of a level, so that no later rounding crosses
# a boundary.
_LEVEL_PARTS = 4096


def fog(images: Tensor, seeds: Tensor, *, strength: float, decay: float) -> Tensor:
    """Returns ``(x + strength P) m / (m + strength)`` for a random map P of fog and the largest value m of the image.

    The map is a `plasma_map` whose side is the smallest power of two that is at least the larger side of the image,
    normalised as a whole and then cropped.

    Args:
        images: (N, C, H, W) float, pixels in [0, 1].
        seeds: (N,) int64, from `image_seeds`, on the device of the images.
        strength: Brightest fog in units of the pixel range, at least 0.
        decay: The detail of the map loses ``decay^2`` per octave, at least 1.

    Returns:
        (N, C, H, W), clipped to [0, 1].
    """
    height, width = images.shape[2:]
    side = max(2, 1 << (max(height, width) - 1).bit_length())
    draws = uniform(seeds, (side * side - 1,)).sub_(0.5)
    foggy = torch.empty_like(images)
    for rows in row_blocks(len(images), side * side // 2, images.device):
        maps = plasma_map(draws[rows], side=side, decay=decay)[:, :height, :width]
        foggy[rows] = add_fog(images[rows], maps, strength=strength)
    return foggy


def add_fog(images: Tensor, maps: Tensor, *, strength: float) -> Tensor:
    """Returns ``(x + strength P) m / (m + strength)`` clipped to [0, 1], for maps P (N, H, W) in [0, 1]."""
    largest = images.amax((1, 2, 3), keepdim=True)
    shares = largest / (largest + strength).clamp_(min=torch.finfo(images.dtype).tiny)
    return (images + (maps.to(images.dtype) * strength).unsqueeze(1)).mul_(shares).clamp_(0.0, 1.0)


def plasma_map(draws: Tensor, *, side: int, decay: float) -> Tensor:
    """Returns maps of fog by the diamond-square algorithm on a torus, each scaled to reach from 0 to 1.

    From one point of value 0, each octave halves the distance of the points: first the centres of the squares, then
    the middles of their upper sides, then those of their left sides become the mean of their four neighbours plus a
    draw times ``decay^(-2 level)``. The square is the authors': they perturb by ``w U(-w, w)``.

    Source of the algorithm: A. Fournier, D. Fussell, L. Carpenter, "Computer rendering of stochastic models", 1982.

    Args:
        draws: (N, side^2 - 1), uniform in (-c, c) for any c; octave by octave, in the order above, row by row.
        side: Rows and columns of a map, a power of two, at least 2.
        decay: At least 1.

    Returns:
        (N, side, side) of the draws' type.
    """
    grid = torch.zeros((len(draws), 2, 2), dtype=draws.dtype, device=draws.device)  # the last repeat the first
    first, level = 0, 0
    while (step := grid.shape[1] - 1) < side:
        octave = draws[:, first : first + 3 * step * step].view(-1, 3, step, step)
        grid = _refine(grid, octave * decay ** (-2.0 * level))
        first, level = first + 3 * step * step, level + 1
    low, high = grid.amin((1, 2), keepdim=True), grid.amax((1, 2), keepdim=True)
    return (grid[:, :side, :side] - low).div_(high - low)


def _refine(grid: Tensor, draws: Tensor) -> Tensor:
    """One octave of `plasma_map`: grids (N, s+1, s+1), whose last row and column repeat the first, to (N, 2s+1, 2s+1).

    The draws are (N, 3, s, s), for the centres, upper sides and left sides.
    """
    count, step = len(grid), grid.shape[1] - 1
    across = grid[:, :, :-1] + grid[:, :, 1:]
    centres = torch.empty_like(grid)  # the first row and column repeat the last
    inner = centres[:, 1:, 1:]
    inner.copy_((across[:, :-1] + across[:, 1:]).mul_(0.25).add_(draws[:, 0]))
    centres[:, 0, 1:] = inner[:, -1]
    centres[:, :, 0] = centres[:, :, -1]
    finer = grid.new_empty((count, 2 * step + 1, 2 * step + 1))
    finer[:, ::2, ::2] = grid
    finer[:, 1::2, 1::2] = inner
    upper = across[:, :-1].add_(inner).add_(centres[:, :-1, 1:]).mul_(0.25)
    torch.add(upper, draws[:, 1], out=finer[:, :-1:2, 1::2])
    left = (grid[:, :-1, :-1] + grid[:, 1:, :-1]).add_(inner).add_(centres[:, 1:, :-1]).mul_(0.25)
    torch.add(left, draws[:, 2], out=finer[:, 1::2, :-1:2])
    finer[:, -1, 1::2] = finer[:, 0, 1::2]
    finer[:, 1::2, -1] = finer[:, 1::2, 0]
    return finer


# Seven constants of the severity table, by their names there.
def snow(
    images: Tensor,
    seeds: Tensor,
    *,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    image_weight: float,
) -> Tensor:
    """Returns the image, whitened, under a layer of flakes that falls twice, the second time turned by 180 degrees.

    Args:
        images: (N, C, H, W) float, pixels in [0, 1], RGB or grey.
        seeds: (N,) int64, from `image_seeds`, on the device of the images.
        mean: Of the random field the flakes are cut out of.
        std: Standard deviation of the field, at least 0.
        zoom: Factor by which the field is enlarged, at least 1.
        threshold: Values of the field below it are no flakes.
        radius: Half the length of a flake's trail, in pixels.
        sigma: Decay of the trail, in pixels.
        image_weight: Share of the image, in [0, 1], in its mean with the whitened image.

    Returns:
        (N, C, H, W), clipped to [0, 1].

    Raises:
        DataError: If the images are neither RGB nor grey.
    """
    draws = normal(seeds, images.shape[2:])
    angles = uniform(seeds, (), 1).mul_(90.0).sub_(135.0)
    layers = snow_layers(draws, angles, mean=mean, std=std, zoom=zoom, threshold=threshold, radius=radius, sigma=sigma)
    return add_snow(images, layers, image_weight=image_weight)


def snow_layers(
    draws: Tensor,
    angles: Tensor,
    *,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
) -> Tensor:
    """Returns (N, 1, H, W) layers of flakes in [0, 1]: cut out of the field ``mean + std z`` and blurred by motion.

    The draws z are (N, H, W), standard normal, and the angles (N,), the direction of motion in degrees; the other
    parameters are those of `snow`. The layers have the draws' type and are multiples of 1 / 255, truncated twice.
    """
    field = filters.zoom((draws * std).add_(mean).unsqueeze(1), zoom)
    flakes = filters.truncate_(filters.clear_below_(field, threshold).clamp_(0.0, 1.0))
    return filters.truncate_(filters.motion(flakes, angles, radius=radius, sigma=sigma))


def add_snow(images: Tensor, layers: Tensor, *, image_weight: float) -> Tensor:
    """Returns ``w x + (1 - w) max(x, 1.5 g + 0.5) + L + L'`` clipped to [0, 1], w being `image_weight`.

    Of images x in RGB, g is the luminance; of grey ones, x itself. L are the layers of flakes (N, 1, H, W), and L' is L
    turned by 180 degrees.

    Raises:
        DataError: If the images are neither RGB nor grey.
    """
    if images.shape[1] not in (1, 3):
        raise DataError(f"Corruption snow needs images of 1 or 3 channels, not {images.shape[1]}.")
    snowy = torch.empty_like(images)
    for rows in row_blocks(len(images), images.shape[1:].numel(), images.device):
        block, layer = images[rows], layers[rows].to(images.dtype)
        white = _luminance(block).mul_(1.5 * (1 - image_weight)).add_(0.5 * (1 - image_weight))
        whitened = torch.maximum((block * image_weight).add_(white), block)  # x stays where 1.5 g + 0.5 is darker
        snowy[rows] = whitened.add_(layer + layer.flip(2, 3)).clamp_(0.0, 1.0)
    return snowy


def _luminance(images: Tensor) -> Tensor:
    """(N, 1, H, W), the weighted sum of red, green and blue of ITU-R BT.601, or a copy of a grey image."""
    if images.shape[1] == 1:
        return images.clone()
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * 0.299).add_(green * 0.587).add_(blue * 0.114)


def frost(
    images: Tensor,
    seeds: Tensor,
    *,
    image_weight: float,
    frost_weight: float,
    texture_scale: float,
    textures: Path | None = None,
) -> Tensor:
    """Returns ``image_weight x + frost_weight t`` for a random crop t of a random photograph of frost.

    Args:
        images: (N, 3, H, W) float, pixels in [0, 1].
        seeds: (N,) int64, from `image_seeds`, on the device of the images.
        image_weight: Factor of the image, in [0, 1].
        frost_weight: Factor of the frost, at least 0.
        texture_scale: Size of the photographs relative to the files, in (0, 1].
        textures: Folder of the original files frost1.png ... frost5.jpg; None for torch-uncertainty-assets, whose
            copies of the first three differ from the originals by 3 to 4 grey levels in the mean.

    Returns:
        (N, 3, H, W), clipped to [0, 1].

    Raises:
        DataError: If the images are not RGB or do not fit into every photograph, or a photograph cannot be read.
    """
    photographs = load_textures(textures, texture_scale, images.device)
    index, corners = frost_draws(seeds, photographs, *images.shape[2:])
    return add_frost(images, index, corners, photographs, image_weight=image_weight, frost_weight=frost_weight)


def frost_draws(seeds: Tensor, textures: Textures, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Draws a photograph and the place of a crop for each image; as in the original, the last place never occurs.

    Returns:
        (N,) int64, number of the photograph, 0 to 4; (N, 2) int64, top row and left column of the crop.

    Raises:
        DataError: If a photograph does not have more rows and columns than the images.
    """
    for name, (rows, columns) in zip(textures.names, textures.sizes, strict=True):
        if rows <= height or columns <= width:
            raise DataError(
                f"Corruption frost needs images smaller than its photograph {name} of {rows} x {columns} pixels, not "
                f"{height} x {width}; use smaller images or a larger texture_scale."
            )
    draws = uniform(seeds, (3,)).double()  # products of 24 bits with a side are exact
    index = (draws[:, 0] * len(textures.names)).long()
    places = textures.sides[index] - filters.constants((height, width), index.dtype, index.device)
    return index, (draws[:, 1:] * places).long()


def add_frost(
    images: Tensor, index: Tensor, corners: Tensor, textures: Textures, *, image_weight: float, frost_weight: float
) -> Tensor:
    """Returns ``image_weight x + frost_weight t`` clipped to [0, 1], for the crops t that `frost_draws` describes.

    Bytes x become bytes, truncated.

    Raises:
        DataError: If the images are not RGB.
    """
    if images.shape[1] != 3:
        raise DataError(f"Corruption frost needs colour images of 3 channels, not {images.shape[1]}.")
    levels = filters.on_device(255.0, images)
    frosty = _frosty_levels(image_weight, frost_weight, images.device)

    def blend(block: Tensor, crops: Tensor) -> Tensor:
        if block.dtype == torch.uint8:
            pairs = crops.to(torch.int32).add_(block.to(torch.int32), alpha=256)
            return frosty.index_select(0, pairs.view(-1)).view_as(crops)
        sums = (block * levels).double().mul_(image_weight * _LEVEL_PARTS)
        sums.add_(crops.double().mul_(frost_weight * _LEVEL_PARTS)).floor_()
        return sums.to(block.dtype).mul_(1 / _LEVEL_PARTS).clamp_(0.0, 255.0).div_(levels)

    return by_blocks(blend, images, crop(textures, index, corners, *images.shape[2:]))


@lru_cache(maxsize=8)
def _frosty_levels(image_weight: float, frost_weight: float, device: torch.device) -> Tensor:
    """(65536,) uint8, at 256 l + t what becomes of a level l under a level t of frost."""
    levels = torch.arange(256, dtype=torch.float64, device=device)
    sums = (levels * image_weight)[:, None] + levels * frost_weight
    return sums.clamp_(max=255.0).to(torch.uint8).view(-1)
