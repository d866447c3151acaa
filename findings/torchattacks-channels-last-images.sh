#!/usr/bin/env bash
# Five attacks of torchattacks refuse images in the channels_last memory format, AutoAttack among them.
#
# Packages: torchattacks 3.5.1, torch 2.14.1, torchvision 0.29.1. Date: 2026-11-28.
# Guess: an attack takes images of any memory format, as the networks do, or none takes channels_last.
# Seen: 31 attacks run and give valid images; PGDL2, FAB, AutoAttack (through FAB), JSMA and SparseFool end in a
# RuntimeError, because they reshape with `view`. PGD, APGD and DeepFool work, so a first try does not show it, and
# AutoAttack fails only after its first two attacks have run.
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
images = torch.rand(8, 3, 8, 8)
labels = net(images).argmax(1)
no_attack_alone = ("VANILA", "MultiAttack", "LGV")
names = [name for name in torchattacks.__all__ if name not in no_attack_alone]
print("python", sys.version.split()[0], *(f"{it} {importlib.metadata.version(it)}" for it in ("torch", "torchattacks")))
refused = {}
for name in names:
    attack = getattr(torchattacks, name)(net)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                attack(images.contiguous(memory_format=layout), labels)
        except RuntimeError as error:
            refused[name, layout] = str(error)
for (name, layout), error in refused.items():
    print(f"{name}, {layout}: {error[:90]}")
print(f"{len(names) - len(refused)} of {len(names)} attacks take both")
expected = {"JSMA", "PGDL2", "SparseFool", "FAB", "AutoAttack"}
sys.exit(set(refused) != {(name, torch.channels_last) for name in expected})
PY
"$folder/venv/bin/python" "$folder/look.py"
