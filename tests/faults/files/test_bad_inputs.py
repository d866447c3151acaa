"""Damaged, edited and absurd inputs as data: each is refused with its own sentence and code 2, and nothing is left."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustcsc.cli import main as cli_main
from tests.faults.conftest import FULL
from tests.faults.files.edits import edit_file

Case = dict[str, Any]
CASES: list[Case] = json.loads(Path(__file__).with_name("bad_inputs.json").read_text("utf-8"))
#: What reads each kind of file, with the result as JSON where that is short.
READ_BY = {
    "runs/sdnet/weights.safetensors": "evaluate --run sdnet --json --remeasure",
    "runs/sdnet/lambda/gaussian.json": "evaluate --run sdnet --lambda adaptive --json --remeasure",
    "runs/sdnet/results.sqlite": "evaluate --run sdnet --json",
    "runs/sdnet/data.json": "evaluate --run sdnet --json",
    "runs/half/training.pt": "train sdnet-digits --run half --epochs 1 --resume --json",
    "exported/robustcsc.json": "sweep --run sdnet --corrupted-root exported --corruptions gaussian_noise --json",
    "adv.safetensors": "attack --run sdnet --score adv.safetensors --json",
}
#: Bits that are flipped in each kind of file, and edits of each structured one.
FLIPS, EDITS = (143, 40) if FULL else (20, 10)
TIMED = ("seconds", "created", "final_epoch")


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def check(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Does what the case says to a file, and runs its command."""
    if case["file"]:
        edit_file(place / case["file"], case["edit"])
    before = contents(place)
    capsys.readouterr()
    code = cli_main.main(case["command"].split(" "))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.splitlines()[-1] == f"Error: {case['sentence'].replace('PLACE', str(place))}"
    assert "Traceback" not in err
    assert contents(place) == before


def test_there_are_enough_bad_inputs() -> None:
    assert len({json.dumps(case, sort_keys=True) for case in CASES}) == len(CASES) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda it: f"{it['file'] or it['command'][:40]}")
def test_a_bad_input_is_one_sentence(case: Case, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(case, copied, capsys)


def result(out: str) -> object:
    """What a command printed as JSON, without times."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {name: timeless(it) for name, it in value.items() if name not in TIMED and name != "sha256"}
        return [timeless(it) for it in value] if isinstance(value, list) else value

    return timeless(json.loads(out))


def answer(place: Path, file: str, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, object]:
    """Exit code and result of the command that reads a file, with other content in it."""
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree(place, "copy", ignore=shutil.ignore_patterns("copy"))
    if content is not None:
        (Path("copy") / file).write_bytes(content)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir("copy")
        capsys.readouterr()
        code = cli_main.main(READ_BY[file].split())
    out, err = capsys.readouterr()
    assert code in (0, 2), err
    assert "Traceback" not in err
    return code, result(out) if code == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize("file", READ_BY)
def test_a_flipped_bit_is_refused_or_harmless(file: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, draws = (copied / file).read_bytes(), random.Random(file)
    expected, refused = answer(copied, file, None, capsys), 0
    assert expected[0] == 0
    for _ in range(FLIPS):
        content, bit = bytearray(whole), draws.randrange(8 * len(whole))
        content[bit // 8] ^= 1 << bit % 8
        found = answer(copied, file, bytes(content), capsys)
        assert found in ((2, None), expected), f"bit {bit}"
        refused += found[0] == 2
    with capsys.disabled():
        print(f"\n{file}: {FLIPS} flipped bits, {refused} refused, {FLIPS - refused} harmless")  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize("file", [it for it in READ_BY if it.endswith(".json")])
@settings(
    max_examples=EDITS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(data=st.data())
def test_any_edit_of_a_structured_file_is_refused_or_harmless(
    data: st.DataObject, file: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = json.loads((copied / file).read_bytes())
    node, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    node[key] = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]))
    expected = answer(copied, file, None, capsys)
    assert answer(copied, file, json.dumps(tree).encode(), capsys) in ((2, None), expected)
