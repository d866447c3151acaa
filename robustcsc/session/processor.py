"""What Linux says of the processor."""

from __future__ import annotations

from pathlib import Path


def processor_field(name: str, file: Path = Path("/proc/cpuinfo")) -> str:
    """Returns a field of the first processor, ``""`` where that is not known."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def has_bfloat16() -> bool | None:
    """Returns whether the processor multiplies in bfloat16, ``None`` where that is not known."""
    flags = processor_field("flags") or processor_field("Features")  # x86 or Arm
    return "bf16" in flags if flags else None
