"""The noise families of the SDNet paper, and the corruptions that they are."""

#: By family, in the order of the paper's Table 3.
NOISE_KERNELS = {
    "gaussian": "gaussian_noise",
    "shot": "shot_noise",
    "speckle": "speckle_noise",
    "impulse": "impulse_noise",
}
