#!/usr/bin/env bash
# Under bfloat16 autocast PGD and its kin run in torchattacks; AutoAttack and all query attacks but SPSA fail.
#
# Packages: torchattacks 3.5.1, torch 2.14.1, torchvision 0.29.1 (CPU). Date: 2026-11-28.
# Guess: autocast is transparent: images and attack stay float32, only the model computes in bfloat16; so attacks that
# need no gradient of the model have the least to fear.
# Seen: the reverse. The logits come back as bfloat16. Attacks by gradients run; APGDT, OnePixel and Pixle turn logits
# into NumPy arrays (TypeError, NumPy has no bfloat16), Square writes them into a float32 tensor (RuntimeError), and
# AutoAttack ends with its second attack. A wrapper that returns `logits.float()` is enough.
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
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)
).eval()


class Float(nn.Module):
    def forward(self, images):
        return net(images).float()


images = torch.rand(6, 3, 8, 8)
labels = net(images).argmax(1)
names = ("FGSM", "PGD", "APGD", "DeepFool", "FAB", "SPSA", "APGDT", "Square", "OnePixel", "Pixle", "AutoAttack")
print("python", sys.version.split()[0], *(f"{it} {importlib.metadata.version(it)}" for it in ("torch", "torchattacks")))
found = {}
for name in names:
    found[name] = []
    for model in (net, Float()):
        torch.manual_seed(0)
        try:
            with torch.autocast("cpu", torch.bfloat16), contextlib.redirect_stdout(io.StringIO()):
                getattr(torchattacks, name)(model)(images, labels)
            found[name].append("runs")
        except (TypeError, RuntimeError) as error:
            found[name].append(f"{type(error).__name__}: {error}")
    print(f"{name}: {found[name][0]}; behind logits.float(): {found[name][1]}")
failed = {name for name, (bare, _) in found.items() if bare != "runs"}
sys.exit(not (failed == set(names[6:]) and all(behind == "runs" for _, behind in found.values())))
PY
"$folder/venv/bin/python" "$folder/look.py"
