"""Severity tables: the shipped ones against the published constants, and every way a file can be wrong."""

import hashlib
import inspect
from importlib.resources import files
from pathlib import Path

import pytest

from robustcsc.corruptions import KERNELS, load_spec, packaged_specs, select
from robustcsc.errors import SpecError, UnknownNameError
from robustcsc.measurements.kernels import PARAMETERS, RANGES

PUBLISHED = {  # Hendrycks and Dietterich's scripts make_cifar_c.py and make_imagenet_c.py
    "cifar10_c": {
        "gaussian_noise": ("std", (0.04, 0.06, 0.08, 0.09, 0.10)),
        "shot_noise": ("photons", (500, 250, 100, 75, 50)),
        "impulse_noise": ("share", (0.01, 0.02, 0.03, 0.05, 0.07)),
        "speckle_noise": ("std", (0.06, 0.10, 0.12, 0.16, 0.20)),
    },
    "imagenet_c": {
        "gaussian_noise": ("std", (0.08, 0.12, 0.18, 0.26, 0.38)),
        "shot_noise": ("photons", (60, 25, 12, 5, 3)),
        "impulse_noise": ("share", (0.03, 0.06, 0.09, 0.17, 0.27)),
        "speckle_noise": ("std", (0.15, 0.20, 0.35, 0.45, 0.60)),
    },
}
VALID = """\
[benchmark]
image_size = 32
source = "somewhere"

[gaussian_noise]
kernel = "gaussian_noise"
group = "noise"
standard = true
levels = [{ std = 0.04 }, { std = 0.06 }, { std = 0.08 }, { std = 0.09 }, { std = 0.10 }]
"""


@pytest.mark.parametrize(("table", "size"), [("cifar10_c", 32), ("imagenet_c", 224)])
def test_shipped_tables_hold_the_published_constants(table: str, size: int) -> None:
    spec = load_spec(table)
    assert (spec.name, spec.image_size) == (table, size)
    for name, (parameter, values) in PUBLISHED[table].items():
        corruption = spec.corruptions[name]
        assert (corruption.kernel, corruption.group) == (name, "noise")
        assert corruption.standard == (name != "speckle_noise")
        assert [level[parameter] for level in corruption.levels] == list(values)
        assert all(type(level[parameter]) is float for level in corruption.levels)


def test_all_shipped_tables_are_valid_and_carry_the_hash_of_their_file() -> None:
    assert packaged_specs() == ("cifar10_c", "imagenet_c")
    for name in packaged_specs():
        content = files("robustcsc.corruption_specs").joinpath(f"{name}.toml").read_bytes()
        assert load_spec(name).digest == hashlib.sha256(content).hexdigest()[:8]


def test_every_kernel_has_parameters_and_every_parameter_a_range() -> None:
    assert PARAMETERS.keys() == KERNELS.keys()
    for kernel, names in PARAMETERS.items():
        taken = inspect.signature(KERNELS[kernel]).parameters.values()
        assert names == tuple(it.name for it in taken if it.kind is it.KEYWORD_ONLY and it.default is it.empty)
        assert names and set(names) <= set(RANGES)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *(
            (name.partition("_")[0], name)
            for name in ("gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise")
        ),
        *((name.partition("_")[0], name) for name in ("defocus_blur", "elastic_transform", "jpeg_compression")),
        ("gaussian_blur", "gaussian_blur"),
        ("gaussian-blur", "gaussian_blur"),
        ("fog", "fog"),
        ("contrast", "contrast"),
    ],
)
def test_the_first_word_of_a_corruption_is_enough(typed: str, meant: str) -> None:
    for table in packaged_specs():
        assert select(load_spec(table), typed) == [meant]


@pytest.mark.parametrize("typed", ["gauss", "noises", "", "_", "gaussian_", "jpg"])
def test_other_short_forms_are_unknown(typed: str) -> None:
    with pytest.raises(UnknownNameError):
        select(load_spec("cifar10_c"), typed)


def test_a_file_of_ones_own_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(VALID)
    spec = load_spec(str(path))
    assert (spec.name, spec.source, list(spec.corruptions)) == ("mine", "somewhere", ["gaussian_noise"])
    assert spec.corruptions["gaussian_noise"].levels[2] == {"std": 0.08}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[benchmark]", "[benchmark", "1: '[benchmark' is not valid TOML: the name of a table stands in [ ]"),
        ("[benchmark]", "[bench]", "1, [benchmark]: write a table [benchmark] with the keys image_size, source."),
        ("image_size = 32", "", "1, [benchmark]: the key 'image_size' is missing."),
        ("image_size = 32", "image_size = 32.0", "2, image_size of [benchmark]: 32.0 is not a whole number."),
        ("image_size = 32", "image_size = true", "2, image_size of [benchmark]: True is not a whole number."),
        ("image_size = 32", "image_size = 0", "2, image_size of [benchmark]: the side of an image is at least 1 pixel"),
        ("image_size = 32", "image_size = 32\nyear = 1", "3, year of [benchmark]: there is no such key: choose one of"),
        (
            "image_size = 32",
            'image_size = 32\npixels = "8 bits"',
            "3, pixels of [benchmark]: unknown words '8 bits': did you mean '8 bit'?",
        ),
        ('source = "somewhere"', "source = 1", "3, source of [benchmark]: 1 is not text in quotes."),
        ('kernel = "gaussian_noise"', "", "5, [gaussian_noise]: the key 'kernel' is missing."),
        (
            'kernel = "gaussian_noise"',
            'kernel = "gausian_noise"',
            "6, kernel of [gaussian_noise]: unknown word 'gausian_noise': did you mean 'gaussian_noise'?",
        ),
        ('group = "noise"', 'group = "noises"', "7, group of [gaussian_noise]: unknown word 'noises': did you mean"),
        ("standard = true", "", "5, [gaussian_noise]: the key 'standard' is missing."),
        ("standard = true", 'standard = "yes"', "8, standard of [gaussian_noise]: 'yes' is not true or false."),
        (
            "standard = true",
            "standard = true\nlevel = 1",
            "9, level of [gaussian_noise]: there is no such key: did you",
        ),
        (", { std = 0.10 }", "", "9, levels of [gaussian_noise]: 5 levels are needed, not 4."),
        (
            "{ std = 0.10 }",
            "{ std = 0.10 }, { std = 0.2 }",
            "9, levels of [gaussian_noise]: 5 levels are needed, not 6.",
        ),
        ("{ std = 0.08 }", "0.08", "9, levels of [gaussian_noise]: level 3 is 0.08: write it as { std = NUMBER }."),
        ("{ std = 0.04 }", "{}", "9, levels of [gaussian_noise]: level 1: field 'std' is missing"),
        ("{ std = 0.10 }", "{ sd = 0.1, std = 0.1 }", "9, levels of [gaussian_noise]: level 5: field 'sd' is unknown"),
        ("std = 0.06", 'std = "0.06"', "level 2: field 'std' must be a number, not '0.06'."),
        ("std = 0.06", "std = false", "level 2: field 'std' must be a number, not False."),
        ("std = 0.09", "std = nan", "level 4: field 'std' must be finite, not nan."),
        ("std = 0.09", "std = inf", "level 4: field 'std' must be finite, not inf."),
        ("std = 0.09", "std = -0.09", "level 4: field 'std' must be at least 0"),
        ("std = 0.09", f"std = 1{'0' * 400}", "level 4: field 'std' must be at least 0 and at most 10"),
        (
            "[benchmark]",
            "shot_noise = 1\n[benchmark]",
            "1, [shot_noise]: write a table [shot_noise] with the keys kernel",
        ),
        *(
            ("[gaussian_noise]", f"['{name}']", "the name of a corruption has lower-case letters, digits, '_' and '-'")
            for name in ("../noise", "/tmp/noise", "a/b", "", "a,b", ".", "a.npy", "Noise", "rauschen\u00e4", " fog")
        ),
        ("[gaussian_noise]", f"[{'a' * 101}]", "the name of a corruption has at most 100 letters."),
        *(
            ("[gaussian_noise]", f"[{name}]", f"5, [{name}]: {name} means several corruptions at once")
            for name in ("all", "standard", "noise", "digital")
        ),
        ("[gaussian_noise]", "[benchmark]", "5: the table [benchmark] stands there twice: keep one."),
    ],
)
def test_a_wrong_file_is_refused_with_file_line_and_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert VALID.count(old) == 1
    path = tmp_path / "broken.toml"
    path.write_text(VALID.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load_spec(str(path))
    assert str(caught.value).startswith(f"{path}, line ")
    assert message in str(caught.value)
    assert str(caught.value).endswith((".", "?")) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "level", "message"),
    [
        ("shot_noise", "photons = 0", "'photons' must be above 0 and at most 2000, not 0"),
        ("shot_noise", "photons = 2001", "'photons' must be above 0 and at most 2000, not 2001"),
        ("impulse_noise", "share = 1.5", "'share' must be at least 0 and at most 1, not 1.5"),
        ("impulse_noise", "std = 0.5", "'share' is missing"),
        ("speckle_noise", "std = -1", "'std' must be at least 0 and at most 10, not -1"),
    ],
)
def test_every_parameter_has_its_range(kernel: str, level: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    entry = f'[x]\nkernel = "{kernel}"\ngroup = "noise"\nstandard = true\nlevels = [{", ".join([f"{{{level}}}"] * 5)}]'
    path.write_text(f"{VALID}\n{entry}")
    with pytest.raises(SpecError, match=r", line \d+, levels of \[x\]: level 1: field ") as caught:
        load_spec(str(path))
    assert f"level 1: field {message}" in str(caught.value)


def test_a_table_without_corruptions_or_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text('[benchmark]\nimage_size = 32\nsource = "x"\n')
    with pytest.raises(SpecError, match="has no corruption"):
        load_spec(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="is not text in UTF-8: save it as such"):
        load_spec(str(path))


def test_missing_tables_are_told_apart_from_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown severity table 'cifar10c': did you mean 'cifar10_c'"):
        load_spec("cifar10c")
    with pytest.raises(SpecError, match=r"no\.toml cannot be read"):
        load_spec(str(tmp_path / "no.toml"))
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(str(tmp_path))


def test_selections_follow_the_order_of_the_table() -> None:
    spec = load_spec("cifar10_c")
    noises = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
    assert select(spec, "all")[:1] == ["gaussian_noise"] and set(noises) <= set(select(spec, "all"))
    assert select(spec, "noise") == noises
    assert "speckle_noise" not in select(spec, "standard")
    assert select(spec, "speckle_noise, gaussian_noise,gaussian_noise") == ["gaussian_noise", "speckle_noise"]
    assert select(spec, "noise,standard,speckle_noise") == [*list(spec.corruptions)[:15], "speckle_noise"]
    for wrong in ("", "gauss", "gaussian_noise,", "gaussian_noise;shot_noise"):
        with pytest.raises(UnknownNameError, match="Unknown corruption"):
            select(spec, wrong)
