"""Processes that start together: one alone works and the others are told by whom, or all work and nothing is lost."""

import re
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import FULL, Commands, Undisturbed, records, state
from tests.faults.examples import EXAMPLES, EXPORT, FIT, ONE_SWEEP, REPORT, SWEEP

pytestmark = pytest.mark.slow

TIMES = 20 if FULL else 1

#: Two commands of which one alone may run, and the sentence that the other one ends with.
ALONE = {
    "train": ("train resnet-digits --epochs 1 --run new --seed {}", r"Run 'new' is being trained by process {}"),
    "export": (f"{EXPORT} --seed {{}}", r"The folder exported is being written by process {}"),
    "report": (REPORT, r"The report \S+/out is being written by process {}"),
    "attack": (f"{EXAMPLES['attack'].typed} --seed {{}}", r"found.safetensors is being written by process {}"),
}
#: The sentence if the other one has finished already.
LATE = {
    "train": "Run 'new' has trained weights already",
    "export": "exported holds images exported with seed",
    "attack": "found.safetensors exists already, with other images",
}


@pytest.mark.parametrize("name", ALONE)
def test_of_two_that_must_be_alone_one_works_and_the_other_is_told(
    name: str, commands: Commands, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    (typed, told), whole = ALONE[name], undisturbed(name)
    wholes = []
    for number in (0, 1):
        place = whole.copy(tmp_path / f"whole-{number}")
        assert commands(place, typed.format(number)).code == 0
        wholes.append(state(place))
    for time in range(TIMES):
        place = whole.copy(tmp_path / str(time))
        done = commands.together(place, typed.format(0), typed.format(1))
        codes = [it.code for it in done]
        if name == "report" and codes == [0, 0]:  # one after the other
            continue
        assert sorted(codes) == [0, 2], done
        refused = done[codes.index(2)].err
        late = name in LATE and LATE[name] in refused
        assert late or re.search(f"^Error: {told.format('[0-9]+')}: wait until .*\n$", refused, re.MULTILINE), refused
        assert state(place) == wholes[codes.index(0)]


def test_sweeps_of_one_new_run_lose_and_double_no_record(commands: Commands, tmp_path: Path) -> None:
    typed = [ONE_SWEEP, ONE_SWEEP, SWEEP.format("fog"), SWEEP.format("jpeg_compression")]
    whole = tmp_path / "whole"
    for command in typed:
        assert commands(whole, command).code == 0
    for time in range(TIMES):
        place = tmp_path / str(time)
        done = commands.together(place, *typed)
        assert [it.code for it in done] == [0] * len(typed), done
        assert records(place) == records(whole)
        assert state(place) == state(whole)  # with results.csv, and nothing beside


def test_lambda_fits_of_one_run_have_tables_of_all(commands: Commands, tmp_path: Path) -> None:
    typed = [FIT, FIT.replace("gaussian", "shot")]
    whole = tmp_path / "whole"
    for command in typed:
        assert commands(whole, command).code == 0
    for time in range(TIMES):
        place = tmp_path / str(time)
        assert [it.code for it in commands.together(place, *typed)] == [0, 0]
        assert state(place) == state(whole)


def test_who_is_interrupted_deletes_nothing_of_another_one(commands: Commands, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    commands(whole, ONE_SWEEP)
    for time in range(TIMES):
        place = tmp_path / str(time)
        after = (0.1 + 0.02 * time, signal.SIGINT, 0)
        stopped, done = commands.together(place, SWEEP.format("fog"), ONE_SWEEP, signal_after=after)
        assert stopped.code in (0, 130) and done.code == 0, (stopped, done)
        kept = records(place)["sdnet-digits"]
        assert [it for it in records(whole)["sdnet-digits"] if it not in kept] == []
