"""A process that is killed: the command, repeated, ends where it would have ended undisturbed, to the byte."""

import random
from pathlib import Path

import pytest

from tests.faults.conftest import FULL, Commands, Undisturbed, state
from tests.faults.examples import EXAMPLES

pytestmark = pytest.mark.slow

#: Kills at random moments, and before opening, renaming or deleting a file, of each command; `None` is each of these.
MOMENTS, EVENTS = (50, None) if FULL else (1, 2)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_killed_command_is_resumed_to_the_undisturbed_result(
    name: str, commands: Commands, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    example, whole, chance = EXAMPLES[name], undisturbed(name), random.Random(name)
    events = range(1, whole.events + 1)
    tried = events if EVENTS is None else sorted(chance.sample(events, EVENTS))
    kills: list[dict[str, float]] = [{"kill_at": at} for at in tried]
    kills += [{"kill_after": whole.seconds * (number + chance.random()) / MOMENTS} for number in range(MOMENTS)]
    for number, kill in enumerate(kills):
        place = whole.copy(tmp_path / str(number))
        killed = commands(place, example.typed, **kill)
        assert killed.code == -9 or (killed.code == 0 and "kill_after" in kill), (kill, killed)
        if name == "report":
            assert (place / "out/index.html").exists() or (place / ".out.partial/old/index.html").exists(), kill
        again = commands(place, example.typed + example.again)
        assert again.code == 0, (kill, again)
        assert state(place) == whole.state, (kill, again.err)
