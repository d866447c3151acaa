"""What names of published models mean, and what is refused before PyTorch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from robustcsc.errors import ModelError, RobustCSCError
from robustcsc.models.published.names import PLACES, Published, check, published


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("torchvision:resnet18", Published("torchvision", "resnet18", "")),
        ("torchvision:vit_b_16@IMAGENET1K_V1", Published("torchvision", "vit_b_16", "IMAGENET1K_V1")),
        ("timm:resnet18", Published("timm", "resnet18", "")),
        ("timm:resnet18.a1_in1k", Published("timm", "resnet18", "a1_in1k")),
        ("hf:timm/resnet18.a1_in1k", Published("hf", "timm/resnet18.a1_in1k", "")),
        ("hf:me/net@v1.0", Published("hf", "me/net", "v1.0")),
        ("sdnet18", None),
        ("timm", None),
        ("own.models:resnet18", None),
        ("torchvision.models:resnet18", None),
    ],
)
def test_a_name_says_the_place_the_model_and_the_weights(typed: str, expected: Published | None) -> None:
    found = published(typed)
    assert found == expected
    assert found is None or str(found) == typed


REFUSED = {
    "torchvision:": "torchvision: names no model: write it behind the colon, as in torchvision:resnet18@IMAGENET1K_V1.",
    "torchvision:resnet18": "does not say which weights: add --weights FILE, or the name of published ones, as in",
    "torchvison:resnet18": "Unknown place of published models 'torchvison': did you mean 'torchvision'?",
    "tim:resnet18.a1_in1k": "did you mean 'timm'?",
    "hf:resnet18": "hf:resnet18 names no repository of the Hub: write hf:OWNER/NAME",
    "hf:a b/c": "names no repository",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_a_name_that_is_incomplete_or_mistyped_is_refused(typed: str) -> None:
    with pytest.raises(RobustCSCError) as refusal:
        check(typed, needs_weights=True)
    assert REFUSED[typed] in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("typed", ["sdnet18", "own:net", "os.path:join", "torchvision:resnet18@IMAGENET1K_V1"])
def test_nothing_is_said_of_other_names(typed: str) -> None:
    check(typed, needs_weights=True)


def test_the_extra_that_installs_a_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcsc.models.published.names.find_spec", lambda name: None)
    for typed, extra in (("timm:resnet18.a1_in1k", "timm"), ("hf:timm/resnet18.a1_in1k", "hub")):
        with pytest.raises(ModelError, match=rf"needs the package \w+: pip install 'robustcsc\[{extra}\]'"):
            check(typed, needs_weights=True)
    assert {it.extra for it in PLACES.values()} == {"", "timm", "hub"}


def test_a_refusal_needs_no_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom robustcsc.cli.main import main\n"
        "codes = [main(['sweep', '--model', it]) for it in ('torchvision:resnet18', 'hf:resnet18', 'tim:resnet18')]\n"
        "print(codes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[2, 2, 2] False\n"
    assert done.stderr.count("Error: ") == 3 and "Traceback" not in done.stderr
