"""Snow, frost and fog: the original's pixels for known draws, closed forms, and draws of their own for every image."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import KERNELS, image_seeds, load_spec
from robustcsc.corruptions.textures import load_textures
from robustcsc.corruptions.weather import (
    add_fog,
    add_frost,
    add_snow,
    fog,
    frost,
    frost_draws,
    plasma_map,
    snow,
    snow_layers,
)
from robustcsc.errors import DataError
from robustcsc.measurements.severity_tables import ORIGINAL_NAMES

CPU = torch.device("cpu")
NAMES = ("snow", "frost", "fog")
SPECS = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}
FLAKES = {"mean": 0.15, "std": 0.3, "zoom": 1.75, "threshold": 0.55, "radius": 10.0, "sigma": 4.0}
LEVELS: dict[str, dict[str, float]] = {
    "snow": FLAKES | {"image_weight": 0.9},
    "frost": {"image_weight": 0.9, "frost_weight": 0.4, "texture_scale": 0.2},
    "fog": {"strength": 0.75, "decay": 2.5},
}
every_cell = pytest.mark.parametrize(("family", "severity"), [(name, number) for name in SPECS for number in range(5)])


def seeds(count: int) -> torch.Tensor:
    return image_seeds(0, "weather", 3, torch.arange(count))


def pictures(count: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count * height + width)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator) / 255


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def level(family: str, name: str, severity: int) -> dict[str, float]:
    return dict(load_spec(SPECS[family]).corruptions[name].levels[severity])


def draws_of(arrays: dict[str, np.ndarray], key: str) -> torch.Tensor:
    array = arrays[key]
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


@every_cell
def test_snow_is_the_originals_for_its_draws(reference: Any, family: str, severity: int) -> None:
    arrays, parameters = reference.arrays(family, "replay"), level(family, "snow", severity)
    image_weight = parameters.pop("image_weight")
    angles = 90 * draws_of(arrays, "draw_angle_u") - 135
    layers = snow_layers(draws_of(arrays, "draw_field_z"), angles, **parameters)
    images = add_snow(reference.images(family)[: len(layers)], layers, image_weight=image_weight)
    largest, mean = reference.difference(images, arrays["snow"][severity], arrays.get("rows"))
    assert largest <= 1 and mean <= 0.01


def replayed_frost(reference: Any, family: str, severity: int, folder: Path | None) -> tuple[float, float]:
    """Largest and mean difference of frost from the original's for its draws."""
    arrays, parameters = reference.arrays(family, "replay"), level(family, "frost", severity)
    textures = load_textures(folder, parameters.pop("texture_scale"), CPU)
    index, corners = draws_of(arrays, "draw_frost_index"), draws_of(arrays, "draw_frost_yx")
    images = add_frost(reference.images(family)[: len(index)], index, corners, textures, **parameters)
    difference: tuple[float, float] = reference.difference(images, arrays["frost"][severity], arrays.get("rows"))
    return difference


@every_cell
def test_frost_is_the_originals_for_its_draws_and_photographs(reference: Any, family: str, severity: int) -> None:
    assert replayed_frost(reference, family, severity, reference.path("frost/frost1.png").parent) == (0.0, 0.0)


@every_cell
def test_frost_of_the_packaged_photographs_is_close(reference: Any, family: str, severity: int) -> None:
    _, mean = replayed_frost(reference, family, severity, None)
    assert mean <= 4.5 * level(family, "frost", severity)["frost_weight"]  # their own largest mean difference is 4.4


@every_cell
def test_fog_is_the_originals_for_its_maps(reference: Any, family: str, severity: int) -> None:
    arrays = reference.arrays(family, "replay")
    maps = torch.from_numpy(arrays["draw_fog_map"][severity].astype(np.float32))
    strength = level(family, "fog", severity)["strength"]
    images = add_fog(reference.images(family)[: len(maps)], maps, strength=strength)
    largest, mean = reference.difference(images, arrays["fog"][severity], arrays.get("rows"))
    assert largest <= 1 and mean <= 0.01


@pytest.mark.parametrize("severity", range(5))
def test_maps_of_fog_are_the_originals_for_their_draws(reference: Any, severity: int) -> None:
    arrays = reference.arrays("cifar", "replay")
    maps = plasma_map(draws_of(arrays, "draw_plasma_u"), side=32, decay=level("cifar", "fog", severity)["decay"])
    assert float((maps - draws_of(arrays, "draw_fog_map")[severity]).abs().max()) < 1e-6


def midpoints(draws: Iterator[float], side: int, decay: float) -> np.ndarray:
    """The map of fog point by point."""
    grid, step, weight = np.zeros((side, side)), side, 100.0
    while step > 1:
        half = step // 2
        for top, left, diagonal in ((half, half, True), (0, half, False), (half, 0, False)):
            across = [(-half, -half), (-half, half), (half, -half), (half, half)]
            beside = [(-half, 0), (half, 0), (0, -half), (0, half)]
            for row in range(top, side, step):
                for column in range(left, side, step):
                    neighbours = [
                        grid[(row + down) % side, (column + right) % side]
                        for down, right in (across if diagonal else beside)
                    ]
                    grid[row, column] = np.mean(neighbours) + weight * weight * next(draws)
        step, weight = half, weight / decay
    return np.asarray((grid - grid.min()) / (grid.max() - grid.min()))


@pytest.mark.parametrize("side", [2, 4, 16])
def test_maps_of_fog_are_diamond_square_whatever_the_scale_of_the_draws(side: int) -> None:
    draws = np.random.default_rng(side).uniform(-1, 1, (3, side * side - 1))
    expected = np.stack([midpoints(iter(row), side, 1.75) for row in draws])
    assert np.abs(plasma_map(torch.from_numpy(draws), side=side, decay=1.75).numpy() - expected).max() < 1e-12
    assert np.abs(plasma_map(torch.from_numpy(draws / 2), side=side, decay=1.75).numpy() - expected).max() < 1e-12


def test_fog_on_a_grey_wall_spans_its_range() -> None:
    grey, strength = 0.5, 0.75
    lowest, highest = grey * grey / (grey + strength), grey  # at map values 0 and 1
    images = torch.full((64, 3, 32, 32), grey)
    foggy = fog(images, seeds(64), strength=strength, decay=2.5)
    assert float((foggy.amin((1, 2, 3)) - lowest).abs().max()) < 1e-6
    assert float((foggy.amax((1, 2, 3)) - highest).abs().max()) < 1e-6
    assert torch.equal(foggy[:, :1].expand(-1, 3, -1, -1), foggy)


@pytest.mark.parametrize(("height", "width", "side"), [(17, 32, 32), (33, 47, 64), (50, 64, 64)])
def test_fog_is_cut_out_of_the_next_power_of_two(height: int, width: int, side: int) -> None:
    whole = fog(torch.full((16, 3, side, side), 0.5), seeds(16), strength=0.75, decay=2.5)
    part = fog(torch.full((16, 3, height, width), 0.5), seeds(16), strength=0.75, decay=2.5)
    assert torch.equal(part, whole[:, :, :height, :width])


def test_fog_leaves_black_images_black_and_is_nothing_at_strength_0() -> None:
    images = pictures(4, 9, 14)
    assert float(fog(torch.zeros(4, 3, 9, 14), seeds(4), strength=1.0, decay=2.0).max()) == 0.0
    assert float(fog(torch.zeros(4, 3, 9, 14), seeds(4), strength=0.0, decay=2.0).max()) == 0.0
    assert torch.equal(fog(images, seeds(4), strength=0.0, decay=2.0), images)


def test_fog_stays_finite_at_the_strongest_decay() -> None:
    foggy = fog(pictures(1, 1025, 3), seeds(1), strength=1.0, decay=100.0)
    assert bool(torch.isfinite(foggy).all())


def test_photographs_and_places_are_drawn_uniformly_the_last_place_excluded() -> None:
    count = 40_000
    textures = load_textures(None, 0.2, CPU)
    index, corners = frost_draws(seeds(count), textures, 58, 100)
    shares = np.bincount(index.numpy()) / count
    assert shares == pytest.approx([0.2] * 5, abs=5 * (0.16 / count) ** 0.5)
    for number, (height, width) in enumerate(textures.sizes):
        chosen = corners[index == number].numpy()
        for axis, places in ((0, height - 58), (1, width - 100)):
            share = np.bincount(chosen[:, axis]) / len(chosen)
            assert share == pytest.approx([1 / places] * places, abs=5 * (1 / places / len(chosen)) ** 0.5)
        assert abs(np.corrcoef(chosen.T)[0, 1]) < 5 / len(chosen) ** 0.5


def test_frost_shows_the_second_picture_twice_as_often_and_the_sixth_the_darkest_never(tmp_path: Path) -> None:
    levels, count = (130, 206, 206, 151, 123, 90), 4000
    for name, level in zip((*ORIGINAL_NAMES, "frost6.jpg"), levels, strict=True):
        Image.new("RGB", (6, 5), (level, level, level)).save(tmp_path / name, "PNG")
    frosty = frost(
        torch.zeros(count, 3, 4, 4, dtype=torch.uint8),
        seeds(count),
        image_weight=0.0,
        frost_weight=1.0,
        texture_scale=1.0,
        textures=tmp_path,
    )
    shares = np.bincount(frosty[:, 0, 0, 0].numpy(), minlength=256) / count
    assert shares[[123, 130, 151, 206]] == pytest.approx([0.2, 0.2, 0.2, 0.4], abs=5 * (0.24 / count) ** 0.5)
    assert shares[90] == 0 and shares[[123, 130, 151, 206]].sum() == 1


def test_the_sixth_photograph_is_the_darkest_and_the_second_and_third_are_one(reference: Any) -> None:
    place = reference.path("frost/frost6.jpg").parent
    pictures = []
    for name in (*ORIGINAL_NAMES, "frost6.jpg"):
        with Image.open(place / name) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    assert np.array_equal(pictures[1], pictures[2])
    assert np.argmin([it.mean() for it in pictures]) == 5


def test_frost_without_weight_is_the_image_and_without_the_image_a_crop() -> None:
    images = pictures(8, 32, 20)
    clear = frost(images, seeds(8), image_weight=1.0, frost_weight=0.0, texture_scale=0.2)
    assert torch.equal(clear, images)
    textures = load_textures(None, 0.2, CPU)
    index, corners = frost_draws(seeds(8), textures, 32, 20)
    covered = frost(images, seeds(8), image_weight=0.0, frost_weight=1.0, texture_scale=0.2)
    for number, (row, column), image in zip(index.tolist(), corners.tolist(), covered, strict=True):
        height, width = textures.sizes[number]
        start = int(textures.starts[number])
        photograph = textures.pixels[start : start + 3 * height * width].view(3, height, width)
        assert torch.equal(image, photograph[:, row : row + 32, column : column + 20] / 255)


def test_snow_without_flakes_whitens() -> None:
    images = pictures(4, 16, 24)
    snowy = snow(images, seeds(4), **(FLAKES | {"threshold": 10.0}), image_weight=0.7)
    luminance = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    expected = 0.7 * images + 0.3 * torch.maximum(images, 1.5 * luminance + 0.5)
    assert float((snowy - expected.clamp(max=1.0)).abs().max()) < 1e-6


def test_flakes_fall_twice_the_second_time_turned() -> None:
    night = torch.zeros(32, 3, 32, 32)
    snowy = snow(night, seeds(32), **FLAKES, image_weight=1.0)
    assert torch.equal(snowy, snowy.flip(2, 3))
    assert torch.equal(snowy, snowy[:, :1].expand(-1, 3, -1, -1))
    assert bool(((snowy > 0).float().mean((1, 2, 3)) > 0.05).all())
    levels = snowy.double() * 255
    assert float((levels - levels.round()).abs().max()) < 1e-4


def test_flakes_fall_downwards_within_45_degrees() -> None:
    """A trail brightens the pixels it starts from, so the layer of one bright pixel lies below it."""
    draws = torch.zeros(256, 41, 41)
    draws[:, 20, 20] = 1.0
    for angle in (-135.0, -90.0, -45.0):
        still = dict(FLAKES, mean=0.0, std=1.0, zoom=1.0)
        layer = snow_layers(draws[:1], torch.tensor([angle]), **still)[0, 0]
        rows, columns = layer.nonzero().unbind(1)
        assert int(rows.min()) == 20 and int(rows.max()) > 24
        slope = float((columns - 20).double().sum() / (rows - 20).double().sum())
        assert slope == pytest.approx({-135.0: 1.0, -90.0: 0.0, -45.0: -1.0}[angle], abs=0.1)


def test_snow_takes_a_grey_image_as_its_own_luminance() -> None:
    grey = pictures(8, 32, 32, channels=1)
    coloured = snow(grey.expand(-1, 3, -1, -1), seeds(8), **LEVELS["snow"])
    assert float((snow(grey, seeds(8), **LEVELS["snow"]) - coloured).abs().max()) < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("count", "height", "width"), [(100, 32, 32), (40, 33, 47), (4, 224, 224)])
def test_an_image_alone_is_the_same_to_the_bit_as_in_a_batch_with_any_number_of_threads(
    name: str, count: int, height: int, width: int, threads: Callable[[int], None]
) -> None:
    large = {"texture_scale": 1.0} if name == "frost" and height == 224 else {}
    images, own, parameters = pictures(count, height, width), seeds(count), LEVELS[name] | large
    threads(2)
    together = KERNELS[name](images, own, **parameters)
    threads(1)
    assert torch.equal(KERNELS[name](images, own, **parameters), together)
    for chosen in (slice(0, 1), slice(1, 2), slice(count // 3, count // 3 + 3), slice(count - 1, count)):
        assert torch.equal(KERNELS[name](images[chosen].clone(), own[chosen], **parameters), together[chosen])


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_an_image_get_their_own_weather(name: str) -> None:
    copies = pictures(1, 32, 32).expand(16, -1, -1, -1)
    corrupted = KERNELS[name](copies, seeds(16), **LEVELS[name])
    distances = (corrupted[:, None] - corrupted[None]).abs().mean((2, 3, 4))
    assert float((distances + torch.eye(16)).min()) > 0.005
    assert torch.equal(KERNELS[name](copies, seeds(16), **LEVELS[name]), corrupted)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_keep_type_range_and_arguments(name: str) -> None:
    images = pictures(4, 32, 32) * 2 - 0.5
    before, own = images.clone(), seeds(4)
    single = KERNELS[name](images, own, **LEVELS[name])
    double = KERNELS[name](images.double(), own, **LEVELS[name])
    assert torch.equal(images, before) and torch.equal(own, seeds(4))
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    assert float((single - double).abs().max()) < 3e-6
    assert float(single.min()) >= 0.0 and float(single.max()) <= 1.0
    assert len(KERNELS[name](images[:0], own[:0], **LEVELS[name])) == 0


def test_images_without_colour_are_refused() -> None:
    with pytest.raises(DataError, match=r"Corruption frost needs colour images of 3 channels, not 1"):
        KERNELS["frost"](pictures(2, 32, 32, channels=1), seeds(2), **LEVELS["frost"])
    with pytest.raises(DataError, match=r"Corruption snow needs images of 1 or 3 channels, not 4"):
        KERNELS["snow"](pictures(2, 32, 32, channels=4), seeds(2), **LEVELS["snow"])


def test_images_too_large_for_a_photograph_are_refused() -> None:
    for height, width in ((63, 20), (20, 112)):
        message = (
            rf"frost needs images smaller than its photograph frost2\.jpg of 63 x 112 pixels, not {height} x {width};"
        )
        with pytest.raises(DataError, match=message):
            KERNELS["frost"](pictures(2, height, width), seeds(2), **LEVELS["frost"])
    images = pictures(2, 62, 104)
    assert not torch.equal(KERNELS["frost"](images, seeds(2), **LEVELS["frost"]), images)


def test_photographs_of_a_folder_replace_the_packaged_ones(reference: Any) -> None:
    images, originals = pictures(64, 32, 32), reference.path("frost/frost1.png").parent
    packaged = KERNELS["frost"](images, seeds(64), **LEVELS["frost"])
    original = KERNELS["frost"](images, seeds(64), **LEVELS["frost"], textures=originals)
    index, _ = frost_draws(seeds(64), load_textures(originals, 0.2, CPU), 32, 32)
    same = (packaged == original).flatten(1).all(1)
    assert torch.equal(same, index >= 3)  # two of the packaged files are the originals, two were compressed anew
