"""`robustcsc quickstart`: the whole story on digits."""

from __future__ import annotations

import time

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note


def quickstart(device: options.Device = "cpu", seed: options.Seed = 0) -> None:
    """Train a ResNet and an SDNet on digits, sweep noise, fit lambda, attack, and report: about a minute and a half."""
    from robustcsc.cli.attack import attack
    from robustcsc.cli.evaluate import sweep
    from robustcsc.cli.fit import fit_lambda
    from robustcsc.cli.report import report

    started = time.perf_counter()
    names = ("quickstart-resnet", "quickstart-sdnet")
    for number, (name, model) in enumerate(zip(names, ("resnet-digits", "sdnet-digits"), strict=True), start=1):
        note(f"\n[{number}/6] Training {model} on 1,297 digits of 8x8 pixels")
        _train(name, model, seed)
    note("\n[3/6] SDNet: fitting the line from the residual to the best lambda on held-out training images")
    fit_lambda(run=names[1], noise="all", device=device, seed=seed)
    note("\n[4/6] Sweeping noise over five severities on 500 test images")
    sweep(run=names[0], corruptions="noise", device=device, seed=seed)
    sweep(run=names[1], corruptions="noise", policies="train,adaptive,adaptive-image,oracle", device=device, seed=seed)
    note("\n[5/6] Attacking both with PGD")
    for name in names:
        attack(run=name, pgd="linf", device=device, seed=seed)
    note("\n[6/6] Report, both models side by side")
    report([names[1], names[0]], title="Quickstart: SDNet and ResNet on digits")
    note(f"\nDone in {time.perf_counter() - started:.0f} s.")


def _train(name: str, model: str, seed: int) -> None:
    from robustcsc.cli.train import train

    if runs.create(name, exist_ok=True).weights_path.exists():
        note(f"runs/{name} has weights already; they are used. Delete the folder to train afresh.")
        return
    train(model, data="digits", run=name, seed=seed, resume=True, device="cpu")
