"""Spatter: the original's pixels for known draws, its steps against SciPy and by hand, own drops for every image."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
import torch
from torch import Tensor

from robustcsc.corruptions import image_seeds, load_spec
from robustcsc.corruptions.spatter import (
    cover_with_mud,
    cover_with_water,
    drops,
    edge_distances,
    edges,
    equalize,
    relief,
    spatter,
)
from robustcsc.errors import DataError

SPECS = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}
WATER = {"mean": 0.65, "std": 0.3, "sigma": 1.0, "threshold": 0.69, "strength": 0.5, "mud": 0.0}
MUD = WATER | {"strength": 0.6, "mud": 1.0}
COSTS = {(0, 1): 1.0, (1, 0): 1.0, (1, 1): 1.4, (1, 2): 2.1969, (2, 1): 2.1969}  # of the chamfer metric


def seeds(count: int) -> Tensor:
    return image_seeds(0, "spatter", 3, torch.arange(count))


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def smooth_planes(height: int, width: int, count: int) -> np.ndarray:
    """(H, W, N) whole numbers 0..255 with gradients of every direction and strength."""
    noise = np.random.default_rng(count).standard_normal((height, width, count))
    smooth = scipy.ndimage.gaussian_filter(noise, (1.5, 1.5, 0))
    return np.asarray(np.clip(np.round(smooth / smooth.std() * 60 + 100), 0, 255))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("family", "severity"), [(name, number) for name in SPECS for number in range(5)])
def test_it_is_the_originals_for_its_draws(reference: Any, family: str, severity: int) -> None:
    arrays = reference.arrays(family, "replay")
    level = load_spec(SPECS[family]).corruptions["spatter"].levels[severity]
    field_level = {name: level[name] for name in ("mean", "std", "sigma", "threshold")}
    field = drops(torch.from_numpy(arrays["draw_field_z"].astype(np.float32)), **field_level)
    images = reference.images(family)[: len(field)]
    if level["mud"]:
        images = cover_with_mud(images, field, threshold=level["threshold"], sigma=level["strength"])
    else:
        images = cover_with_water(images, field, strength=level["strength"])
    largest, mean = reference.difference(images, arrays["spatter"][severity], arrays.get("rows"))
    assert largest <= 1 and mean <= 0.01


def test_edges_are_ridges_of_the_gradient_that_reach_a_strong_one() -> None:
    planes = smooth_planes(40, 53, 6)
    found = edges(torch.from_numpy(planes).to(torch.int16)).numpy()
    assert 0.1 < found.mean() < 0.4
    for plane in range(6):
        across, down = (scipy.ndimage.sobel(planes[..., plane], axis, mode="nearest") for axis in (1, 0))
        strength = np.pad(np.abs(across) + np.abs(down), 1)
        ridge = np.zeros((40, 53), bool)
        for row, column in np.ndindex(40, 53):
            ridge[row, column] = is_ridge(strength[row : row + 3, column : column + 3], across, down, row, column)
        strength = strength[1:-1, 1:-1]
        parts, count = scipy.ndimage.label(ridge & (strength > 50), np.ones((3, 3)))
        strongest = scipy.ndimage.maximum(strength, parts, range(1, count + 1))
        kept = 1 + np.flatnonzero(np.asarray(strongest) > 150)
        assert 0 < len(kept) < count
        assert np.array_equal(found[..., plane], np.isin(parts, kept))


def is_ridge(around: np.ndarray, across: np.ndarray, down: np.ndarray, row: int, column: int) -> bool:
    """Whether the middle of 3 x 3 pixels is the largest along its gradient; of equal ones the first, unless slanted."""
    angle = math.degrees(math.atan2(down[row, column], across[row, column])) % 180
    middle = around[1, 1]
    if angle < 22.5 or angle > 157.5:
        return bool(middle > around[1, 0] and middle >= around[1, 2])
    if 67.5 < angle < 112.5:
        return bool(middle > around[0, 1] and middle >= around[2, 1])
    if angle < 90:
        return bool(middle > around[0, 0] and middle > around[2, 2])
    return bool(middle > around[0, 2] and middle > around[2, 0])


def test_a_long_weak_edge_is_kept_to_its_end_when_it_starts_strong() -> None:
    plane = torch.zeros(8, 60, 2)
    plane[4:] = 20.0  # a step of 20 has gradient 80, between the two thresholds
    plane[4:, :4, 1] = 60.0
    found = edges(plane.to(torch.int16))
    assert not found[:, :, 0].any()
    assert found[3:5, 10:, 1].any(0).all()


@pytest.mark.parametrize(("height", "width"), [(17, 26), (3, 40)])
def test_distances_are_the_shortest_ways(height: int, width: int) -> None:
    chosen = random(height, width, 3) > torch.tensor([0.9, 0.98, 0.99])
    chosen[0, 0] = True
    distances = edge_distances(chosen).numpy()
    numbers = np.arange(height * width).reshape(height, width)
    ways = scipy.sparse.lil_array((height * width, height * width))
    for (rows, columns), cost in COSTS.items():
        for sign in (1, -1):
            for row, column in np.ndindex(height - rows, width):
                if 0 <= column + sign * columns < width:
                    ways[numbers[row, column], numbers[row + rows, column + sign * columns]] = cost
    for plane in range(3):
        goals = np.flatnonzero(chosen[..., plane].numpy())
        lengths = scipy.sparse.csgraph.dijkstra(ways.tocsr(), directed=False, indices=goals).min(0)
        assert np.abs(distances[..., plane].ravel() - np.minimum(lengths, 20)).max() < 1e-3
        assert lengths.max() > 3


def test_distances_end_at_20_and_are_20_without_edges() -> None:
    chosen = torch.zeros(50, 50, 2, dtype=torch.bool)
    chosen[10, 30, 0] = True
    distances = edge_distances(chosen)
    assert distances[29, 30, 0] == 19 and distances[30, 30, 0] == 20 and distances[10, 0, 0] == 20
    assert distances[10:24, 30:44, 0].diagonal()[13] == pytest.approx(13 * 1.4, abs=1e-3)
    assert (distances[..., 1] == 20).all()


def test_equalization_by_hand() -> None:
    planes = torch.tensor([[[3, 0, 6], [5, 0, 6]], [[3, 1, 6], [7, 20, 6]]]).float()
    expected = [[[0, 0, 6], [128, 0, 6]], [[0, 128, 6], [255, 255, 6]]]
    assert equalize(planes).tolist() == expected


def test_relief_of_a_plane_is_flat_and_of_a_slope_is_lit() -> None:
    assert (relief(torch.full((6, 7, 2), 20.0)) == 20).all()
    slope = (torch.arange(12.0) + 1).expand(9, 12)[..., None]
    levels = np.round(np.arange(12) * 255 / 11)
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = np.clip(scipy.ndimage.correlate(np.tile(levels, (9, 1)), light, mode="mirror"), 0, 255)
    expected = np.round(scipy.ndimage.uniform_filter(lit, 3, mode="mirror"))
    assert np.array_equal(relief(slope)[2:-2, 2:-2, 0].numpy(), expected[2:-2, 2:-2])


def test_water_without_an_edge_is_as_thick_as_the_field() -> None:
    images, field = random(2, 3, 16, 16) / 4, torch.full((2, 16, 16), 0.8)
    field[1, :, :8] = 0.79
    colour = torch.tensor([175.0, 238.0, 238.0])[:, None, None] / 255
    for share, columns in ((1.0, slice(8, None)), (201 / 204, slice(0, 8))):
        covered = cover_with_water(images, field, strength=0.5)[1, :, :, columns]
        assert torch.allclose(covered, images[1, :, :, columns] + 0.5 * share * colour, atol=1e-6)


def test_water_wraps_around_at_256_levels() -> None:
    images, field = random(1, 3, 16, 16), torch.full((1, 16, 16), 1.0)
    field[..., 8:] = 256.5 / 255
    covered = cover_with_water(images, field, strength=0.5)
    assert torch.equal(covered[..., 8:], images[..., 8:])
    assert not torch.equal(covered[..., :8], images[..., :8])


def test_without_drops_the_image_stays_as_it_is() -> None:
    images = random(3, 3, 9, 9)
    for level in (WATER, MUD):
        assert torch.equal(spatter(images, seeds(3), **level | {"threshold": 10.0}), images)


def test_mud_is_brown_where_its_weight_is_at_least_point_8() -> None:
    images, field = random(1, 3, 12, 12), torch.zeros(1, 12, 12)
    field[..., 6:] = 0.7
    brown = torch.tensor([63.0, 42.0, 20.0])[:, None, None] / 255
    weight = scipy.ndimage.gaussian_filter1d((np.arange(12) >= 6) * 1.0, 0.6, mode="nearest", truncate=4)
    assert 0.8 < weight[6] < 0.98  # thinner at the border of the drop, which thus shows the image
    weights = torch.from_numpy(weight * (weight >= 0.8)).float()
    covered = cover_with_mud(images, field, threshold=0.69, sigma=0.6)
    assert torch.allclose(covered, images * (1 - weights) + brown * weights, atol=1e-6)
    assert torch.equal(covered[..., :6], images[..., :6])
    assert torch.equal(cover_with_mud(images, field, threshold=0.7, sigma=0.6), images)


@pytest.mark.parametrize(("count", "height", "width"), [(256, 32, 32), (256, 33, 47), (5, 224, 224)])
@pytest.mark.parametrize("level", [WATER, MUD], ids=["water", "mud"])
def test_an_image_alone_is_the_image_in_a_batch(level: dict[str, float], count: int, height: int, width: int) -> None:
    images = random(count, 3, height, width)
    batch = spatter(images, seeds(count), **level)
    for i in (0, 1, count // 2, count - 1):
        assert torch.equal(spatter(images[i : i + 1], seeds(count)[i : i + 1], **level)[0], batch[i])


@pytest.mark.parametrize("level", [WATER, MUD], ids=["water", "mud"])
def test_one_thread_and_two_give_the_same(level: dict[str, float], threads: Callable[[int], None]) -> None:
    images = random(30, 3, 33, 47)  # enough for torch to share the work out
    threads(1)
    alone = spatter(images, seeds(30), **level)
    threads(2)
    assert torch.equal(spatter(images, seeds(30), **level), alone)


@pytest.mark.parametrize("level", [WATER, MUD], ids=["water", "mud"])
def test_copies_of_an_image_get_drops_of_their_own(level: dict[str, float]) -> None:
    covered = spatter(random(1, 3, 32, 32).expand(8, -1, -1, -1), seeds(8), **level).flatten(1)
    assert torch.cdist(covered, covered).add(torch.eye(8) * 100).min() > 1


@pytest.mark.parametrize("level", [WATER, MUD], ids=["water", "mud"])
def test_float64_and_strided_images_and_empty_batches(level: dict[str, float]) -> None:
    images = random(3, 3, 16, 16)
    covered = spatter(images, seeds(3), **level)
    double = spatter(images.double(), seeds(3), **level)
    assert double.dtype == torch.float64 and float((double - covered).abs().max()) < 1e-6
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(spatter(strided, seeds(3), **level), covered)
    assert spatter(images[:0], seeds(0), **level).shape == (0, 3, 16, 16)


def test_grey_and_tiny_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"^Corruption spatter needs colour images of 3 channels, not 1\.$"):
        spatter(random(1, 1, 8, 8), seeds(1), **WATER)
    with pytest.raises(DataError, match=r"^Corruption spatter needs images of at least 2 x 2 pixels, not 1 x 8\.$"):
        spatter(random(1, 3, 1, 8), seeds(1), **WATER)
    assert spatter(random(1, 3, 2, 2), seeds(1), **WATER).shape == (1, 3, 2, 2)
