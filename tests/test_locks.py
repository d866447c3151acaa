"""Locks: one process at a time, in one sentence; those of dead processes hold nobody up."""

import os
from pathlib import Path

import pytest

from robustcsc.errors import StoreError
from robustcsc.locks import alone, using


def test_what_is_being_done_is_refused_with_the_process_that_does_it(tmp_path: Path) -> None:
    told = rf"^Folder x is being written by process {os.getpid()}: wait until that has finished, or name another\.$"
    with alone(tmp_path / "x", "Folder x is being written", "name another"):
        with pytest.raises(StoreError, match=told), alone(tmp_path / "x", "Folder x is being written", "name another"):
            raise AssertionError("it is not alone")
        with alone(tmp_path / "y", "Folder y is being written", "name another"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_gives_way(tmp_path: Path) -> None:
    (tmp_path / ".x.lock").write_text("1\n")
    with alone(tmp_path / "x", "", ""):
        assert (tmp_path / ".x.lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_knows_whether_others_use_it(tmp_path: Path) -> None:
    (tmp_path / ".1-0.user").write_text("1\n")  # of a dead process
    with using(tmp_path) as others:
        assert not others()
        with using(tmp_path) as others_of_the_second:
            assert others() and others_of_the_second()
        assert not others()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_deletes_is_made_again(tmp_path: Path) -> None:
    with alone(tmp_path / "gone" / "x", "", ""):
        assert (tmp_path / "gone").is_dir()
