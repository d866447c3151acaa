#!/usr/bin/env bash
# Of the attacks of torchattacks most take a float64 model; FAB, and with it AutoAttack, TIFGSM and PIFGSM do not.
#
# Packages: torchattacks 3.5.1, torch 2.14.1, torchvision 0.29.1 (CPU). Date: 2026-11-28.
# Guess: a suite that checks gradients in float64 can run every attack on the double model: images and labels are on
# one device and of one kind, and the attacks only add, project and take gradients.
# Seen: FGSM, PGD, APGD, CW, DeepFool, Square and SPSA answer in float64. FAB casts the images to float32 by itself and
# raises in the first convolution; AutoAttack contains FAB and ends there, after two attacks' work. TIFGSM and PIFGSM
# smooth the gradient by a float32 kernel, and raise for grey images too: the kernel is made for three channels.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torchattacks==3.5.1 torch==2.14.1 torchvision==0.29.1
cat > "$folder/look.py" <<'PY'
import contextlib
import importlib.metadata
import io
import sys
import warnings

import torch
import torchattacks
from torch import nn

warnings.filterwarnings("ignore")
torch.set_num_threads(1)  # the network is tiny


def answer(name: str, channels: int, kind: torch.dtype) -> str:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)
    )
    net = net.eval().to(kind)
    images = torch.rand(4, channels, 8, 8, dtype=kind)
    labels = net(images).argmax(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return str(getattr(torchattacks, name)(net)(images, labels).dtype)
    except RuntimeError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"


print("python", sys.version.split()[0], *(f"{it} {importlib.metadata.version(it)}" for it in ("torch", "torchattacks")))
names = ("FGSM", "PGD", "APGD", "CW", "DeepFool", "Square", "SPSA", "FAB", "AutoAttack", "TIFGSM", "PIFGSM")
double = {name: answer(name, 3, torch.float64) for name in names}
grey = {name: answer(name, 1, torch.float32) for name in names}
for name in names:
    print(f"{name}: colour, float64: {double[name]}; grey, float32: {grey[name]}")
refused = {name for name in names if "Error" in double[name]}
sys.exit(not (refused == set(names[7:]) and {name for name in names if "Error" in grey[name]} == set(names[9:])))
PY
"$folder/venv/bin/python" "$folder/look.py"
