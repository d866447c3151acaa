#!/usr/bin/env bash
# scikit-image: an image with one flat channel comes back from wavelet denoising as NaN, and 2 % of salt counts as no noise.
#
# Packages: scikit-image 0.26.0, PyWavelets 1.8.0, NumPy 2.4.6. Date: 2026-11-28.
# Guess: an image that needs no denoising (flat, or made of straight stripes) comes back as it is: its noise is
# estimated as 0, so no wavelet coefficient is below the threshold. Salt noise raises the estimate.
# Seen: estimate_sigma is about 1e-33 there and warns about an empty mean; denoise_wavelet, which divides by it, returns
# NaN in every pixel of the channel without an error, while the other channels are fine. Images with a channel that is
# constant are common: drawings, scans, saturated photographs. The estimate is a median over the finest diagonal
# coefficients that are not zero or nearly so: 2 % of salt on a flat image gives no sigma at all, 20 % gives 0.15, and an
# image of which one half has noise of 0.1 gives 0.008.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    scikit-image==0.26.0 PyWavelets==1.8.0 numpy==2.4.6
cat > "$folder/look.py" <<'PY'
import importlib.metadata
import sys
import warnings

import numpy as np
from skimage.restoration import denoise_wavelet, estimate_sigma

warnings.simplefilter("ignore")
packages = ("scikit-image", "PyWavelets", "numpy")
print("python", sys.version.split()[0], *(f"{it} {importlib.metadata.version(it)}" for it in packages))
draws = np.random.default_rng(0)
flat = np.full((32, 32), 0.5)
stripes = np.tile((np.arange(32) % 8 < 4) * 0.5 + 0.25, (32, 1))
noisy = flat + draws.normal(0, 0.05, flat.shape)
half = np.concatenate([flat[:16], flat[16:] + draws.normal(0, 0.1, (16, 32))])
few, many = (np.where(draws.random(flat.shape) < share, 1.0, flat) for share in (0.02, 0.2))

lost, sigmas = {}, {}
for name, image in {"flat": flat, "stripes": stripes, "noise of 0.05": noisy, "noise of 0.1 on one half": half}.items():
    sigmas[name], lost[name] = estimate_sigma(image), np.isnan(denoise_wavelet(image)).mean()
for name, image in {"2 % salt": few, "20 % salt": many}.items():
    sigmas[name], lost[name] = estimate_sigma(image), np.isnan(denoise_wavelet(image)).mean()
colour = np.stack([flat, noisy, flat], axis=-1)
sigmas["colour, two channels flat"] = max(estimate_sigma(colour, channel_axis=-1))
lost["colour, two channels flat"] = np.isnan(denoise_wavelet(colour, channel_axis=-1)).mean()
for name, sigma in sigmas.items():
    print(f"{name}: estimated {sigma:.4f}, NaN in {100 * lost[name]:.0f} % of the denoised values")
seen = (
    lost["flat"] == lost["stripes"] == 1
    and abs(lost["colour, two channels flat"] - 2 / 3) < 1e-9
    and lost["noise of 0.05"] == 0
    and sigmas["2 % salt"] < 1e-9
    and sigmas["20 % salt"] > 0.1
    and sigmas["noise of 0.1 on one half"] < 0.02
)
sys.exit(not seen)
PY
"$folder/venv/bin/python" "$folder/look.py"
