#!/usr/bin/env bash
# After torch's new precision settings, reading the old ones raises; "medium", meant for TF32, sets oneDNN to bfloat16.
#
# Packages: torch 2.14.1 (CPU is enough: these are settings, no matrix is multiplied). Date: 2026-11-28.
# Guess: `get_float32_matmul_precision()` and `allow_tf32` are readers: they never raise, and a tool may note them in
# the record of a measurement; `set_float32_matmul_precision("medium")` concerns matrix products on a CUDA device.
# Seen: both readers raise a RuntimeError as soon as one backend was set through `fp32_precision` to what the old
# setting cannot say, also where only the CPU's backend was set; and "medium" sets the CPU's matrix products
# (`torch.backends.mkldnn.matmul`) to bf16 and those of CUDA to tf32. Whoever records the precision has to read
# `fp32_precision` of each backend.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1
cat > "$folder/look.py" <<'PY'
import sys
import warnings
from collections.abc import Callable

import torch

warnings.filterwarnings("ignore")
CUDA, CPU = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul


def read(reader: Callable[[], object]) -> str:
    try:
        return str(reader())
    except RuntimeError as error:
        return f"{type(error).__name__}: {str(error)[:90]}..."


print("python", sys.version.split()[0], "torch", torch.__version__)
torch.set_float32_matmul_precision("medium")
medium = (CUDA.fp32_precision, CPU.fp32_precision)
print("after set_float32_matmul_precision('medium'): cuda", medium[0], "| oneDNN", medium[1])
torch.set_float32_matmul_precision("highest")
CPU.fp32_precision = "bf16"
old = read(torch.get_float32_matmul_precision)
print("after mkldnn.matmul.fp32_precision = 'bf16': get_float32_matmul_precision() ->", old)
CPU.fp32_precision = "ieee"
torch.set_float32_matmul_precision("medium")
CUDA.fp32_precision = "ieee"
allowed = read(lambda: CUDA.allow_tf32)
print("after cuda.matmul.fp32_precision = 'ieee': cuda.matmul.allow_tf32 ->", allowed)
sys.exit(not (medium == ("tf32", "bf16") and "RuntimeError" in old and "RuntimeError" in allowed))
PY
"$folder/venv/bin/python" "$folder/look.py"
