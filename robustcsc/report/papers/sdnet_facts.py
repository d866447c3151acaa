"""What SDNet's tables print: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022.

Accuracies are in percent, memory and speed those of the authors' GPUs. The paper's severities Level-0 to Level-4 are 1
to 5 here.
"""

from __future__ import annotations

from robustcsc.report.measured import Who
from robustcsc.report.quantities import What
from robustcsc.report.template import Column, Printed, Row
from robustcsc.report.words import MISSING, corruption_words

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
CIFAR_NOISES = ("gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise")
IMAGENET_NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")
RESNET, SCN = "ResNet-18", "SCN"
TRAIN, ADAPTIVE = "SDNet-18 w/ λ = 0.1", "SDNet-18 w/ adaptive λ"
LAMBDA = "λ from linear fitting"
BUDGETS = {"linf": 8 / 255, "l2": 0.5}

#: Table 1: data set, architecture, model here, parameters, accuracy, memory, training images per second.
ARCHITECTURES = (
    ("cifar10", "ResNet-18", "resnet18", "11.2M", "95.54", "1.0 GB", "1600"),
    ("cifar10", "ResNet-34", "resnet34", "21.1M", "95.57", "2.0 GB", "1000"),
    ("cifar10", "MDEQ", "", "11.1M", "93.80", "2.0 GB", "90"),
    ("cifar10", "SCN", "", "0.7M", "94.36", "10.0 GB", "39"),
    ("cifar10", "SCN-18", "", "11.2M", "95.12", "3.5 GB", "158"),
    ("cifar10", "SDNet-18", "sdnet18", "11.2M", "95.20", "1.2 GB", "1500"),
    ("cifar10", "SDNet-34", "sdnet34", "21.1M", "95.57", "2.4 GB", "900"),
    ("cifar100", "ResNet-18", "resnet18", "11.2M", "77.82", "1.0 GB", "1600"),
    ("cifar100", "ResNet-34", "resnet34", "21.1M", "78.39", "2.0 GB", "1000"),
    ("cifar100", "MDEQ", "", "11.2M", "74.12", "2.0 GB", "90"),
    ("cifar100", "SCN", "", "0.7M", "80.07", "10.0 GB", "39"),
    ("cifar100", "SCN-18", "", "11.2M", "78.59", "3.5 GB", "158"),
    ("cifar100", "SDNet-18", "sdnet18", "11.3M", "78.31", "1.2 GB", "1500"),
    ("cifar100", "SDNet-34", "sdnet34", "21.2M", "78.48", "2.4 GB", "900"),
    ("imagenet", "ResNet-18", "resnet18", "11.7M", "68.98", "24.1 GB", "2100"),
    ("imagenet", "ResNet-34", "resnet34", "21.5M", "72.83", "32.3 GB", "1400"),
    ("imagenet", "SCN", "", "9.8M", "70.42", "95.1 GB", "51"),
    ("imagenet", "SDNet-18", "sdnet18", "11.7M", "69.47", "37.6 GB", "1800"),
    ("imagenet", "SDNet-34", "sdnet34", "21.5M", "72.67", "46.4 GB", "1200"),
)
#: Table 2: Gaussian noise at severities 1 to 5.
GAUSSIAN = {
    RESNET: ("79.43", "56.17", "34.86", "28.23", "23.45"),
    SCN: ("80.89", "60.21", "44.97", "37.79", "30.11"),
    TRAIN: ("81.78", "63.50", "43.86", "35.84", "27.92"),
    ADAPTIVE: ("84.76", "74.87", "61.38", "54.77", "48.84"),
}
GAUSSIAN_LAMBDA = ("0.49", "0.60", "0.75", "0.84", "0.94")
#: Table 3: means over severities, CIFAR-10-C in the order of `CIFAR_NOISES`, ImageNet-C in that of `IMAGENET_NOISES`.
MEANS = {
    RESNET: ("44.43", "57.88", "62.16", "51.72", "22.73", "21.78", "17.38"),
    SCN: ("50.79", "62.97", "67.45", "54.19", MISSING, MISSING, MISSING),
    TRAIN: ("50.58", "63.29", "67.11", "54.13", "24.98", "23.97", "19.12"),
    ADAPTIVE: ("64.92", "71.13", "71.42", "57.48", "29.16", "27.59", "22.01"),
}
#: Table 4: CIFAR-10 under PGD of L-infinity 8/255 and L2 0.5. The paper names no number of steps.
PGD = {RESNET: ("0.01", "29.47"), TRAIN: ("0.11", "29.95"), "SDNet-18 (after tuning λ)": ("35.18", "62.80")}
#: Table 5: ImageNet and ImageNet-C (in the order of `IMAGENET_NOISES`) by number of FISTA iterations.
ITERATIONS = {
    2: ("69.47", "29.16", "27.59", "22.01"),
    4: ("69.51", "29.69", "28.15", "24.15"),
    8: ("69.79", "30.91", "29.87", "25.69"),
}
#: Table 6: as table 1.
ALL_LAYERS = (
    ("cifar10", "SDNet-18", "sdnet18", "11.2M", "95.20", "1.2 GB", "1500"),
    ("cifar10", "SDNet-18-all", "sdnet18-all", "11.2M", "95.18", "4.1 GB", "400"),
    ("cifar100", "SDNet-18", "sdnet18", "11.3M", "78.31", "1.2 GB", "1500"),
    ("cifar100", "SDNet-18-all", "sdnet18-all", "11.3M", "78.16", "4.1 GB", "400"),
    ("imagenet", "SDNet-18", "sdnet18", "11.7M", "69.47", "37.6 GB", "1800"),
    ("imagenet", "SDNet-18-all", "sdnet18-all", "11.7M", "69.37", "121.9 GB", "490"),
    ("imagenet", "SDNet-34", "sdnet34", "21.5M", "72.67", "46.4 GB", "1200"),
    ("imagenet", "SDNet-34-all", "sdnet34-all", "21.5M", "72.54", "157.7 GB", "300"),
)

_STEPS = (("num_steps", 2),)
_WHO = {
    RESNET: Who(model="resnet18"),
    SCN: Who(),
    TRAIN: Who(model="sdnet18", policies=("train",), options=_STEPS, lam=0.1),
    ADAPTIVE: Who(model="sdnet18", policies=("adaptive",), options=_STEPS),
}
_COSTS = (
    Column(heading="parameters", what=What(kind="parameters")),
    Column(heading="accuracy (%)", what=What(kind="clean")),
    Column(heading="training memory", what=What()),
    Column(heading="training (images/s)", what=What(kind="speed")),
)
_SPEED = "Measured speed: training images of all epochs over the time of the training, validation included."
_FAMILIES = {0: ("{}",), 2: ("{} w/ training λ",), 3: ("{} w/ adaptive λ",)}


def _who(name: str, data: str) -> Who:
    known = _WHO[name]
    return Who(model=known.model, data=data, policies=known.policies, options=known.options, lam=known.lam)


def _costs(number: str, words: str, facts: tuple[tuple[str, ...], ...]) -> Printed:
    rows = (
        Row(
            words=(NAMES[data], called),
            who=Who(model=model, data=data, options=_STEPS if model.startswith("sdnet") else ()),
            printed=tuple(printed),
        )
        for data, called, model, *printed in facts
    )
    return Printed(
        name=f"sdnet-table-{number}",
        title=f"SDNet, table {number}: {words}",
        headings=("data set", "architecture"),
        columns=_COSTS,
        rows=tuple(rows),
        notes=(_SPEED,),
        others={0: ("CIFAR-10", "{}"), 5: ("CIFAR-10", "{}")} if number == "1" else {},
    )


def _second() -> Printed:
    columns = (
        Column(heading=f"severity {at}", what=What(kind="corruption", name="gaussian_noise", severities=(at,)))
        for at in range(1, 6)
    )
    rows = [Row(words=(name,), who=_who(name, "cifar10"), printed=figures) for name, figures in GAUSSIAN.items()]
    used = {"corruption": {"kind": "lambda"}}
    rows.append(Row(words=(LAMBDA,), who=_who(ADAPTIVE, "cifar10"), printed=GAUSSIAN_LAMBDA, changes=used))
    return Printed(
        name="sdnet-table-2",
        title="SDNet, table 2: accuracy (%) on CIFAR-10-C, Gaussian noise",
        headings=("model",),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=("The paper's severities are called Level-0 to Level-4.",),
        others={**_FAMILIES, 4: (f"{LAMBDA}, {{}}",)},
    )


def _third() -> Printed:
    columns = [
        Column(heading=f"{name}-C: {corruption_words(noise)}", what=What(kind="corruption", name=noise), data=data)
        for data, name, noises in (("cifar10", "CIFAR-10", CIFAR_NOISES), ("imagenet", "ImageNet", IMAGENET_NOISES))
        for noise in noises
    ]
    return Printed(
        name="sdnet-table-3",
        title="SDNet, table 3: accuracy (%) on corrupted images, mean over severities 1-5",
        headings=("model",),
        columns=tuple(columns),
        rows=tuple(Row(words=(name,), who=_who(name, ""), printed=figures) for name, figures in MEANS.items()),
        others=_FAMILIES,
    )


def _fourth() -> Printed:
    columns = [
        *(
            Column(heading=f"PGD {words}", what=What(kind="pgd", norm=norm, epsilon=BUDGETS[norm]))
            for norm, words in (("linf", "L∞ 8/255"), ("l2", "L2 0.5"))
        ),
        *(
            Column(
                heading=f"lowest measured, {words}",
                what=What(kind="all attacks", norm=norm, epsilon=BUDGETS[norm]),
                printed=False,
            )
            for norm, words in (("linf", "L∞ 8/255"), ("l2", "L2 0.5"))
        ),
    ]
    names = (RESNET, TRAIN, ADAPTIVE)
    rows = [
        Row(words=(words,), who=_who(name, "cifar10"), printed=figures)
        for name, (words, figures) in zip(names, PGD.items(), strict=True)
    ]
    return Printed(
        name="sdnet-table-4",
        title="SDNet, table 4: accuracy (%) on CIFAR-10 under PGD (static: crafted at λ = 0.1, scored at the tuned λ)",
        headings=("model",),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            "The rows after tuning λ are a transfer test: their images were crafted at the training λ. Beside them "
            "stands what every attack that was measured leaves of the same model and λ policy, adaptive ones included, "
            "counted image by image; it is an upper bound of the robust accuracy.",
        ),
        others={0: ("{}",), 1: ("{} w/ training λ",), 2: ("{} (after tuning λ)",)},
    )


def _fifth() -> Printed:
    columns = [
        Column(heading="ImageNet", what=What(kind="clean")),
        *(
            Column(heading=f"ImageNet-C: {corruption_words(it)}", what=What(kind="corruption", name=it))
            for it in IMAGENET_NOISES
        ),
    ]
    rows = [
        Row(
            words=(str(steps),),
            who=Who(
                model="sdnet18",
                data="imagenet",
                policies=("adaptive",),
                options=(("num_steps", steps),),
                usual=steps == 2,
            ),
            printed=figures,
        )
        for steps, figures in ITERATIONS.items()
    ]
    return Printed(
        name="sdnet-table-5",
        title="SDNet, table 5: accuracy (%) of SDNet-18 with adaptive λ by number of FISTA iterations",
        headings=("FISTA iterations",),
        columns=tuple(columns),
        rows=tuple(rows),
    )


TABLES = (
    _costs("1", "size, accuracy and speed of architectures", ARCHITECTURES),
    _second(),
    _third(),
    _fourth(),
    _fifth(),
    _costs("6", "all convolutions replaced by CSC layers", ALL_LAYERS),
)
