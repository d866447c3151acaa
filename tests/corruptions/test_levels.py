"""The noise levels of the lambda fit bracket the table they are made for."""

from itertools import pairwise
from pathlib import Path

import pytest

from robustcsc.corruptions import load_spec, noise_levels
from robustcsc.errors import SpecError, UnknownNameError
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.kernels import parameter_problem

AUTHORS = {  # levels in the code of SDNet's authors, which bracket these tables
    ("gaussian", "cifar10_c"): [0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2],
    ("speckle", "imagenet_c"): [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    ("impulse", "imagenet_c"): [0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27],
}


@pytest.mark.parametrize("table", ["cifar10_c", "imagenet_c"])
@pytest.mark.parametrize("noise", ["gaussian", "shot", "speckle", "impulse"])
def test_levels_bracket_the_severities_from_weak_to_strong(noise: str, table: str) -> None:
    spec = load_spec(table)
    levels = noise_levels(noise, spec)
    severities = [next(iter(level.values())) for level in spec.corruptions[f"{noise}_noise"].levels]
    values = [next(iter(level.values())) for level in levels]
    assert all(parameter_problem(NOISE_KERNELS[noise], level) is None for level in levels)
    assert min(values) <= min(severities) and max(severities) <= max(values)
    assert values == sorted(set(values), reverse=noise == "shot")
    if (noise, table) in AUTHORS:
        assert values == AUTHORS[noise, table]
    else:
        assert len(values) == 10
        ratios = [abs(b / a) for a, b in pairwise(values)]
        assert max(ratios) / min(ratios) < 1.05  # geometric but for rounding
        assert max(max(values) / max(severities), min(severities) / min(values)) < 1.3


def test_levels_stay_in_the_range_of_the_parameter(tmp_path: Path) -> None:
    entry = '[x]\nkernel = "{}"\ngroup = "noise"\nstandard = true\nlevels = [{}]\n'
    path = tmp_path / "mine.toml"
    path.write_text(
        '[benchmark]\nimage_size = 8\nsource = "x"\n'
        + entry.format("impulse_noise", ", ".join(f"{{ share = {share} }}" for share in (0, 0.2, 0.5, 0.9, 1)))
    )
    spec = load_spec(str(path))
    values = [level["share"] for level in noise_levels("impulse", spec)]
    assert values[0] == 0.16 and values[-1] == 1.0
    with pytest.raises(SpecError, match="Table mine has no shot_noise"):
        noise_levels("shot", spec)


def test_an_unknown_noise_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Unknown noise 'gauss': did you mean"):
        noise_levels("gauss", load_spec("cifar10_c"))
