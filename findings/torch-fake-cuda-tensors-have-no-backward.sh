#!/usr/bin/env bash
# PyTorch's fake CUDA tensors compute forward without a GPU, but not backward, and let `.cpu()` pass as no read of values.
#
# Package: torch 2.14.1 (the wheel of PyPI, built for CUDA). Date: 2026-11-28.
# Guess: FakeTensorMode has no values and needs no driver, so a whole training step of tensors with device="cuda" runs on a
# machine without a GPU, and whatever brings values to the host raises: the way to test code for GPUs in CI.
# Seen: the forward pass runs, and `.item()` raises; `.cpu()` returns a fake tensor of the host, silently, though on a GPU it
# waits for all kernels as `.item()` does; and `backward()` raises a RuntimeError of the CUDA runtime ("hasPrimaryContext
# expects a valid device index"), because autograd's engine asks for the stream of the real device. With device="lazy:0",
# of which no backend is there either, the same step runs: the engine treats lazy tensors like those of the CPU.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/look.py" <<'PY'
import sys

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

print("python", sys.version.split()[0], "torch", torch.__version__, "built for CUDA", torch.version.cuda)
print("GPUs:", torch.cuda.device_count())


def tried(name, work):
    try:
        result = work()
    except Exception as error:
        print(f"  {name}: {type(error).__name__}: {str(error).splitlines()[0][:70]}")
        return type(error).__name__
    print(f"  {name}: {getattr(result, 'device', 'done')}")
    return str(getattr(result, "device", "done"))


seen = {}
for device in ("cuda:0", "lazy:0"):
    with FakeTensorMode():
        weight = torch.rand(4, 3, device=device, requires_grad=True)
        loss = (torch.rand(2, 3, device=device) @ weight.T).square().mean()
        print(device)
        seen[device] = [
            tried("forward", lambda: loss),
            tried("item()", lambda: loss.item()),
            tried("cpu()", lambda: loss.cpu()),
            tried("backward()", lambda: loss.backward()),
        ]
read = "DataDependentOutputException"
expected = {"cuda:0": ["cuda:0", read, "cpu", "RuntimeError"], "lazy:0": ["lazy:0", read, "cpu", "done"]}
sys.exit(seen != expected)
PY
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy
CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" "$folder/look.py"
