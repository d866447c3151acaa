#!/usr/bin/env bash
# With one seed, noise drawn "like" an image depends on the image's memory format, for some distributions only.
#
# Package: torch 2.14.1 (CPU). Date: 2026-11-28.
# Guess: torch.manual_seed(0) and rand_like(images) give the same values whether the images are contiguous or
# channels_last; equal tensors, equal noise. If not, then the same for all distributions.
# Seen: rand_like, uniform_, randint_like and dropout fill memory in its order, so channels_last images get the same
# numbers at other pixels; randn_like draws other numbers altogether; torch.normal, bernoulli and poisson of a tensor of
# parameters give the same noise in both. A seeded PGD (uniform start) or an augmentation is therefore another
# measurement once model and images are channels_last, and a seeded Gaussian noise is or is not, by how it is written.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat > "$folder/look.py" <<'PY'
import sys

import torch

images = torch.rand(2, 3, 8, 8)
draws = {
    "rand_like(x)": torch.rand_like,
    "empty_like(x).uniform_()": lambda x: torch.empty_like(x).uniform_(),
    "randint_like(x, 9)": lambda x: torch.randint_like(x, 9),
    "dropout(ones_like(x))": lambda x: torch.nn.functional.dropout(torch.ones_like(x)),
    "randn_like(x)": torch.randn_like,
    "normal(zeros_like(x), 1.0)": lambda x: torch.normal(torch.zeros_like(x), 1.0),
    "bernoulli(full_like(x, 0.5))": lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
    "poisson(full_like(x, 3.0))": lambda x: torch.poisson(torch.full_like(x, 3.0)),
}
print("python", sys.version.split()[0], "torch", torch.__version__)
found = {}
for name, draw in draws.items():
    noise = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        noise.append(draw(images.contiguous(memory_format=layout)))
    as_stored = noise[1].permute(0, 2, 3, 1).flatten()
    same = "the same noise" if torch.equal(*noise) else None
    moved = "the same numbers at other pixels" if torch.equal(noise[0].flatten(), as_stored) else "other numbers"
    found[name] = same or moved
    print(f"{name:32} {found[name]}")
moved = {name for name, what in found.items() if what == "the same numbers at other pixels"}
other = {name for name, what in found.items() if what == "other numbers"}
sys.exit(not (moved == set(list(draws)[:4]) and other == {"randn_like(x)"}))
PY
"$folder/venv/bin/python" "$folder/look.py"
