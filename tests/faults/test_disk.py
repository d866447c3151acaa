"""A file system that fails: one sentence, nothing half-written, and the command, repeated, goes on."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import FULL, Commands, Undisturbed, state
from tests.faults.examples import EXAMPLES

pytestmark = pytest.mark.slow

TRIES = 10 if FULL else 1
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_command_whose_writes_fail_is_one_sentence_and_goes_on_later(
    name: str, commands: Commands, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    example, whole, chance = EXAMPLES[name], undisturbed(name), random.Random(name)
    faults: list[dict[str, Any]] = []
    for _ in range(TRIES):
        faults.append({"fail_at": [chance.randint(1, whole.events)], "errno": chance.choice(ERRORS)})
        faults.append({"largest": int(2 ** chance.uniform(11, 18))})  # bytes; more than is printed
    for number, fault in enumerate(faults):
        place = whole.copy(tmp_path / str(number))
        failed = commands(place, example.typed, **fault)
        assert failed.code in (0, 2), (fault, failed)
        assert failed.code == 0 or failed.err.count("Error: ") == 1, (fault, failed)
        assert "Traceback" not in failed.err, (fault, failed)
        # An old report that cannot be deleted waits for the next one.
        parts = [path for path in place.rglob("*.partial") if failed.code or path.name != ".out.partial"]
        assert not parts, fault
        again = commands(place, example.typed + example.again)
        assert again.code == 0, (fault, failed, again)
        assert state(place) == whole.state, (fault, failed)
