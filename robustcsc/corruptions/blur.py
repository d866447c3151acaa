"""The five blurs: Gaussian, defocus, frosted glass, motion and zoom.

Every corruption takes images (N, C, H, W), float with pixels in [0, 1], and seeds (N,), int64 from `image_seeds` on the
device of the images; it returns (N, C, H, W), clipped to [0, 1]. Random ones take two steps, so
that recorded draws can be replayed: random numbers from `draws`, then a function of the images and those numbers.

Source of the definitions: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019.
"""

import functools

import torch
from torch import Tensor

from robustcsc.corruptions.draws import row_blocks, uniform
from robustcsc.corruptions.filters import motion, truncate_, zoom
from robustcsc.corruptions.windows import Kernel, correlate, even_kernel, gaussian_taps, smooth
from robustcsc.errors import DataError

_GRID = 8  # half side of the square on which a disc up to this radius is drawn
_NEGLIGIBLE = 1e-10  # kernel entries too small to matter next to a sum of 1
_ROUNDING = 2.0**-22  # above the rounding error of a float32 filter, so that constant areas keep their 8-bit level


def gaussian_blur(images: Tensor, seeds: Tensor, *, sigma: float) -> Tensor:
    """Returns the images after a Gaussian of `sigma` pixels, at least 0, cut at 4 sigma, the border pixel repeated."""
    return smooth(images, sigma).clamp_(0.0, 1.0)


def defocus_blur(images: Tensor, seeds: Tensor, *, radius: float, alias_sigma: float) -> Tensor:
    """Returns the images seen through a disc-shaped aperture, see `disc_kernel`, mirrored at the border.

    Raises:
        DataError: If a side of the images does not exceed the kernel's half side.
    """
    kernel = _disc_on(images.device, radius, alias_sigma)
    half, sides = kernel.half_width, images.shape[2:]
    if min(sides) <= half:
        raise DataError(
            f"Corruption defocus_blur with a kernel of {2 * half + 1} x {2 * half + 1} pixels needs images of at least "
            f"{half + 1} pixels a side, not {sides[0]} x {sides[1]}: use larger images or a smaller radius."
        )
    return correlate(images, kernel).clamp_(0.0, 1.0)


@functools.lru_cache(maxsize=16)
def _disc_on(device: torch.device, radius: float, alias_sigma: float) -> Kernel:
    """The table of `disc_kernel` on a device, which it is copied to once; shared, so read only."""
    if device.type == "cpu":
        return even_kernel(disc_kernel(radius, alias_sigma))
    host = _disc_on(torch.device("cpu"), radius, alias_sigma)
    return Kernel(host.half_width, *(part.to(device) for part in (host.rows, host.columns, host.weights)))


@functools.lru_cache(maxsize=16)
def disc_kernel(radius: float, alias_sigma: float) -> Tensor:
    """The kernel of `defocus_blur`, a softened disc on a square of whole pixels.

    The disc is normalised, then softened by a separable Gaussian of 3 taps (5 when the radius exceeds 8) that mirrors
    the square at its border. A disc of radius 8 or more touches the border, and the mirroring adds to its sum:
    1.012975 at radius 8 and 1.010786 at radius 10 with an alias sigma of 0.5. The published images are brighter by it.

    Args:
        radius: Of the disc, in pixels, at least 0.
        alias_sigma: Standard deviation of the Gaussian, in pixels, above 0.

    Returns:
        (2 h + 1, 2 h + 1) float64 on the CPU, without outer rings of negligible values; shared, so read only.
    """
    half = max(_GRID, int(radius))
    squares = torch.arange(-half, half + 1, dtype=torch.float64) ** 2
    disc = (squares[:, None] + squares <= radius**2).to(torch.float64)
    reach = 1 if radius <= _GRID else 2
    taps = gaussian_taps(alias_sigma, reach)
    softening = even_kernel(taps[:, None] * taps)
    kernel = correlate(disc[None, None] / disc.sum(), softening)[0, 0]
    kernel[kernel < _NEGLIGIBLE] = 0.0
    margin = int(kernel.any(0).nonzero()[0])
    return kernel[margin : len(kernel) - margin, margin : len(kernel) - margin]


def glass_blur(images: Tensor, seeds: Tensor, *, sigma: float, distance: float, passes: float) -> Tensor:
    """Shuffles pixels locally, up to `distance` pixels along each axis and `passes` times; see `shatter`.

    Both are whole numbers of at least 1; `sigma` is that of `shatter`.

    Raises:
        DataError: If a side of the images is below ``2 distance + 1``, so that no pixel can move.
    """
    reach, sides = int(distance), images.shape[2:]
    if min(sides) <= 2 * reach:
        raise DataError(
            f"Corruption glass_blur over a distance of {reach} needs images of at least {2 * reach + 1} pixels a side, "
            f"not {sides[0]} x {sides[1]}: use larger images or a smaller distance."
        )
    shape = (int(passes), (sides[0] - 2 * reach) * (sides[1] - 2 * reach), 2)
    result = torch.empty_like(images)
    for block in row_blocks(len(images), shape[0] * shape[1], images.device):
        draws = uniform(seeds[block], shape).mul_(2 * reach)  # stays below 2 reach: the largest draw is 1 - 2^-24
        offsets = draws.to(torch.int64).sub_(reach)
        result[block] = shatter(images[block], offsets, sigma=sigma, distance=distance)
    return result


def shatter(images: Tensor, offsets: Tensor, *, sigma: float, distance: float) -> Tensor:
    """Glass blur with known offsets.

    The images are filtered and truncated to 8 bits; then each pass visits the pixels of rows ``H - d`` up to ``d + 1``
    and, in each, of columns ``W - d`` to ``d + 1``, and gives a pixel the present value of the one `offsets` away;
    the result is filtered again. Pixels are copied, not swapped, as in the original functions.

    Args:
        images: (N, C, H, W) float, pixels in [0, 1].
        offsets: (N, passes, (H - 2 d) (W - 2 d), 2) integer from -d to d - 1, (columns, rows), in the order of the
            visits.
        sigma: Standard deviation of the Gaussian, in pixels, at least 0.
        distance: d, a whole number of at least 1.

    Returns:
        (N, C, H, W), clipped to [0, 1].
    """
    height, width = images.shape[2:]
    blurred = truncate_(smooth(images, sigma).add_(_ROUNDING)).flatten(2)
    sources = _sources(offsets.to(torch.int64), height, width, int(distance))
    shuffled = blurred.gather(2, sources.unsqueeze(1).expand_as(blurred)).view_as(images)
    return smooth(shuffled, sigma).clamp_(0.0, 1.0)


def _sources(offsets: Tensor, height: int, width: int, distance: int) -> Tensor:
    """(N, H W) int64, the pixel whose value each pixel has after all passes."""
    own = torch.arange(height * width, device=offsets.device)
    window = (slice(None), slice(distance + 1, height - distance + 1), slice(distance + 1, width - distance + 1))
    sources = own.expand(len(offsets), -1)
    for moves in offsets.unbind(1):
        steps = (moves[..., 1] * width + moves[..., 0]).view(-1, height - 2 * distance, width - 2 * distance)
        read = own.repeat(len(offsets), 1)
        read.view(-1, height, width)[window] += steps.flip(1, 2)
        sources = sources.gather(1, _after_earlier_visits(read, own) if distance > 1 else read)
    return sources


def _after_earlier_visits(read: Tensor, own: Tensor) -> Tensor:
    """Where the values come from when pixels are visited from the last to the first, each reading pixel ``read``.

    A pixel later in the image was visited before and holds the value that it read itself. So reads are followed as long
    as they lead to later pixels, with twice as many steps each time. With a distance of 1 none leads to a later pixel.
    """
    onwards = torch.maximum(read, own)
    for _ in range((len(own) - 1).bit_length()):
        further = onwards.gather(1, onwards)
        if own.device.type == "cpu" and torch.equal(further, onwards):  # elsewhere the host would wait for the answer
            break
        onwards = further
    return read.gather(1, onwards)


def motion_blur(images: Tensor, seeds: Tensor, *, radius: float, sigma: float) -> Tensor:
    """Returns the images smeared along a ray within 45 degrees of the horizontal, each along its own; see `motion`."""
    return smear(images, uniform(seeds, ()), radius=radius, sigma=sigma)


def smear(images: Tensor, draws: Tensor, *, radius: float, sigma: float) -> Tensor:
    """Motion blur, see `motion`, at angles of ``-45 + 90 u`` degrees for (N,) draws u in [0, 1)."""
    return motion(images, draws.to(torch.float64) * 90.0 - 45.0, radius=radius, sigma=sigma).clamp_(0.0, 1.0)


def zoom_blur(images: Tensor, seeds: Tensor, *, last: float, step: float) -> Tensor:
    """Returns the mean of the images and of their zooms by 1, 1 + step, 1 + 2 step, ..., last; see `zoom`.

    The zoom by 1 is the image itself, which therefore counts twice. `last` is at least 1, `step` above 0.
    """
    count = round((last - 1.0) / step) + 1
    difference = (1.0 + step) - 1.0  # rounded as the original's list of factors is, which decides some sizes
    return zoom(images, 1.0, *(1.0 + i * difference for i in range(count))).clamp_(0.0, 1.0)
