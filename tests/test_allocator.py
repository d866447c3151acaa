"""The allocator setting, observed from outside: by the pages that the kernel has to make."""

import platform
import subprocess
import sys

import pytest

# Allocates and fills 64 MiB five times, and prints how many new pages the last time needed.
PROGRAM = """
import resource, sys
from robustcsc.allocator import keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

print(keep_freed_memory() if sys.argv[1] == "keep" else None)
for _ in range(5):
    before = pages()
    block = b"x" * (64 << 20)
    new = pages() - before
    del block
print(new)
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")


def run_program(setting: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, setting]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


@glibc_only
def test_a_large_block_that_was_freed_is_used_again_without_new_pages() -> None:
    said, new_pages = run_program("keep")
    assert said == "True"
    assert int(new_pages) <= 4  # 16,384 pages of 4 KiB, or 32 of 2 MiB, if the memory had been given back


@glibc_only
def test_by_default_the_memory_of_a_large_block_is_given_back() -> None:
    # Shows that the test above can fail.
    _, new_pages = run_program("default")
    assert int(new_pages) >= 32


def test_nothing_happens_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcsc.allocator import keep_freed_memory

    def refuse(name: object) -> None:
        raise AssertionError("the C library was opened")

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", refuse)
    assert keep_freed_memory() is False


def test_nothing_happens_where_the_c_library_has_no_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcsc.allocator import keep_freed_memory

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
