import pytest

from robustcsc.corruptions import load_spec
from robustcsc.measurements.corruptions import (
    STANDARD_CORRUPTIONS,
    STANDARD_GROUPS,
    mean_corruption_error,
    mean_error,
)


def test_the_standard_corruptions_are_fifteen_in_four_groups() -> None:
    assert len(set(STANDARD_CORRUPTIONS)) == 15
    assert {group: len(names) for group, names in STANDARD_GROUPS.items()} == {
        "noise": 3,
        "blur": 4,
        "weather": 4,
        "digital": 4,
    }
    assert not set(STANDARD_CORRUPTIONS) & {"speckle_noise", "gaussian_blur", "spatter", "saturate"}


@pytest.mark.parametrize("table", ["cifar10_c", "imagenet_c"])
def test_severity_tables_mark_the_same_corruptions_as_standard(table: str) -> None:
    for name, corruption in load_spec(table).corruptions.items():
        assert corruption.standard == (name in STANDARD_CORRUPTIONS)
        assert not corruption.standard or name in STANDARD_GROUPS[corruption.group]


def test_mean_error_weighs_corruptions_equally() -> None:
    # (mean(0.2, 0.4) + mean(0.6)) / 2 = (0.3 + 0.6) / 2; the mean of all three would be 0.4
    assert mean_error({"fog": [0.2, 0.4], "snow": [0.6]}) == pytest.approx(0.45)


def test_corruption_error_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    # (0.1 + 0.3) / (0.1 + 0.7) = 0.5; the mean of the ratios is (1 + 3/7) / 2 = 0.714...
    assert mean_corruption_error({"fog": [0.1, 0.3]}, {"fog": [0.1, 0.7]}) == pytest.approx(0.5)


def test_mean_corruption_error_by_hand() -> None:
    errors = {"fog": [0.2, 0.4], "snow": [0.3, 0.3]}
    baseline = {"fog": [0.5, 0.7], "snow": [0.4, 0.4], "frost": [0.9, 0.9]}
    # fog 0.6 / 1.2 = 0.5, snow 0.6 / 0.8 = 0.75
    assert mean_corruption_error(errors, baseline) == pytest.approx(0.625)


def test_relative_mean_corruption_error_by_hand() -> None:
    errors = {"fog": [0.2, 0.4], "snow": [0.3, 0.3]}
    baseline = {"fog": [0.5, 0.7], "snow": [0.4, 0.4]}
    # fog (0.1 + 0.3) / (0.3 + 0.5) = 0.5, snow (0.2 + 0.2) / (0.2 + 0.2) = 1
    value = mean_corruption_error(errors, baseline, clean=0.1, baseline_clean=0.2)
    assert value == pytest.approx(0.75)
    fog = mean_corruption_error({"fog": errors["fog"]}, baseline, clean=0.1, baseline_clean=0.2)
    assert fog == pytest.approx(0.5)


def test_a_model_against_itself_has_error_one() -> None:
    rates = {"fog": [0.2, 0.4, 0.5], "snow": [0.3, 0.3, 0.9]}
    assert mean_corruption_error(rates, rates) == 1.0
    assert mean_corruption_error(rates, rates, clean=0.1, baseline_clean=0.1) == 1.0


def test_relative_error_is_negative_when_a_corruption_helps_the_model() -> None:
    # (0.1 - 0.2) / (0.3 - 0.2) = -1
    value = mean_corruption_error({"fog": [0.1]}, {"fog": [0.3]}, clean=0.2, baseline_clean=0.2)
    assert value == pytest.approx(-1.0)


def test_errors_without_a_usable_baseline_are_refused() -> None:
    with pytest.raises(ValueError, match="fog: the baseline does not get worse"):
        mean_corruption_error({"fog": [0.1]}, {"fog": [0.0]})
    with pytest.raises(ValueError, match="shorter"):
        mean_corruption_error({"fog": [0.1, 0.2]}, {"fog": [0.1]})


def test_relative_error_needs_a_baseline_that_gets_worse() -> None:
    with pytest.raises(ValueError, match="does not get worse"):
        mean_corruption_error({"fog": [0.3]}, {"fog": [0.2]}, clean=0.1, baseline_clean=0.2)
