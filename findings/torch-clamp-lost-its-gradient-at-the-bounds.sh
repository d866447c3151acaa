#!/usr/bin/env bash
# Since PyTorch 2.14 a model that clamps its input to [0, 1] hides every pixel at exactly 0 or 1 from gradient attacks.
#
# Package: torch 2.14.1 beside torch 2.13.0. Date: 2026-11-27.
# Guess: the derivative of clamp(0, 1) is 1 at 0 and 1, as it has been since 2018; so a clamp in front of a network
# changes nothing for images in [0, 1], neither their logits nor the gradients that attacks follow.
# Seen: 1 with torch 2.13.0, and 0 with 2.14.1 (with tensors as bounds: 1/2). The logits are the same, and one step of the
# fast gradient sign method leaves black and white pixels as they are: here all of a black-and-white image. hardtanh has
# had the derivative 0 there in both. The clamped model looks robust, and is not.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/look.py" <<'PY'
import sys

import torch

pixels = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
clamps = {
    "clamp(0, 1)": lambda it: it.clamp(0, 1),
    "clamp(tensor(0.), tensor(1.))": lambda it: it.clamp(torch.tensor(0.0), torch.tensor(1.0)),
    "hardtanh(0, 1)": lambda it: torch.nn.functional.hardtanh(it, 0.0, 1.0),
}
print("python", sys.version.split()[0], "torch", torch.__version__)
found = []
for name, clamp in clamps.items():
    (gradient,) = torch.autograd.grad(clamp(pixels).sum(), pixels)
    found.append(gradient.tolist())
    print(f"derivative of {name} at 0, 0.5 and 1:", found[-1])
torch.manual_seed(0)
weight, image = torch.randn(64), torch.rand(64).round().requires_grad_()
(gradient,) = torch.autograd.grad((image.clamp(0, 1) * weight).sum(), image)
moved = int((gradient.sign() != 0).sum())
print(f"pixels of a black-and-white image that the fast gradient sign method moves behind clamp(0, 1): {moved} of 64")
new = {"2.13": False, "2.14": True}[torch.__version__[:4]]
expected = [[0.0, 1.0, 0.0], [0.5, 1.0, 0.5], [0.0, 1.0, 0.0]] if new else [[1.0] * 3, [1.0] * 3, [0.0, 1.0, 0.0]]
sys.exit(not (found == expected and moved == (0 if new else 64)))
PY
status=0
for package in torch==2.13.0 torch==2.14.1; do
    python3 -m venv "$folder/$package"
    "$folder/$package/bin/python" -m pip install --quiet --disable-pip-version-check "$package" numpy
    "$folder/$package/bin/python" "$folder/look.py" || status=1
    rm -rf "${folder:?}/$package"
done
exit "$status"
