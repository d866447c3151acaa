#!/usr/bin/env bash
# The published weights of GoogLeNet in torchvision's GoogLeNet are another function, if they are loaded as a state dict.
#
# Packages: torch 2.14.1 with torchvision 0.29.1. Date: 2026-11-28.
# Guess: get_model(name, weights=None) followed by load_state_dict of the published state dict is the model that
# get_model(name, weights=W) returns: a state dict holds all that was learned, and a mismatch raises.
# Seen: for googlenet and inception_v3, naming weights also switches transform_input on, a change of normalisation in
# front of the network that no state dict mentions. Loaded by hand the keys fit, nothing is raised, and the network sees
# images in other units: the logits differ, and accuracy and robustness belong to no published model. Other
# architectures (here resnet18) answer the same both ways. The weights here are random, saved under the names that
# torchvision looks for in its cache, so that nothing is downloaded.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 numpy
TORCH_HOME="$folder/cache" "$folder/venv/bin/python" - <<'PY'
import os
import sys
import warnings
from pathlib import Path

import torch
import torchvision
from torchvision.models import get_model, get_model_weights

warnings.simplefilter("ignore")
print("python", sys.version.split()[0], "torch", torch.__version__, "torchvision", torchvision.__version__)
cache = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"
cache.mkdir(parents=True)
images = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0))
differs = {}
fast = {"init_weights": False}
for name, options in (("resnet18", {}), ("googlenet", fast), ("inception_v3", fast)):
    weights = get_model_weights(name).IMAGENET1K_V1
    torch.manual_seed(0)
    learned = get_model(name, weights=None, **options)
    torch.save(learned.state_dict(), cache / weights.url.rpartition("/")[2])
    named = get_model(name, weights=weights).eval()
    heads = {"aux_logits": False} if name == "googlenet" else {}  # those of training are dropped with named weights
    by_hand = get_model(name, weights=None, **options, **heads).eval()
    by_hand.load_state_dict(named.state_dict())
    with torch.no_grad():
        differs[name] = not torch.equal(named(images), by_hand(images))
    print(
        f"{name}: transform_input {getattr(named, 'transform_input', None)} by name, "
        f"{getattr(by_hand, 'transform_input', None)} by hand; "
        f"logits differ: {differs[name]}"
    )
sys.exit(differs != {"resnet18": False, "googlenet": True, "inception_v3": True})
PY
