#!/usr/bin/env bash
# A network that was optimised for inference on a CPU answers an image of NaN with ordinary logits.
#
# Package: torch 2.14.1 (CPU, oneDNN). Date: 2026-11-28.
# Guess: torch.jit.optimize_for_inference changes speed, not meaning: an image with a NaN gives NaN logits, so that a
# check of the logits finds broken input.
# Seen: convolution, batch norm and ReLU become one oneDNN operation, whose ReLU turns NaN into 0 (torch.relu keeps it).
# The image gets finite logits and a class, and counts as classified. By hand the same was seen with torch.compile and
# its option `freezing`, and not with torch.compile alone. So check the images, not the logits.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat > "$folder/look.py" <<'PY'
import sys
import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore", category=FutureWarning)  # TorchScript is deprecated
torch.manual_seed(0)
stem = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
net = nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()
images = torch.rand(3, 3, 16, 16)
fast = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, images)))
images[1] = float("nan")
images[2, 0, 4, 4] = float("nan")
print("python", sys.version.split()[0], "torch", torch.__version__)
found = []
with torch.no_grad():
    for name, model in {"as written": net, "optimised for inference": fast}.items():
        logits = model(images)
        found.append(logits.isnan().any(1).tolist())
        print(f"{name}: NaN logits for a good image, one of NaN, one with a single NaN: {found[-1]}")
        print("   logits of the image of NaN:", [round(logit, 3) for logit in logits[1].tolist()])
sys.exit(found != [[False, True, True], [False, False, False]])
PY
"$folder/venv/bin/python" "$folder/look.py"
