"""What TDDL-CNN's table I prints: Tirer and Giryes, EUSIPCO 2018.

The paper, "Task-driven dictionary learning based on convolutional neural network features", prints fractions; they are
in percent here.
"""

from __future__ import annotations

from robustcsc.report.measured import Who
from robustcsc.report.quantities import What
from robustcsc.report.template import Column, Printed, Row

MODELS = {"full-CNN": "mnist-cnn", "TDDL-LIN": "tddl-lin", "TDDL-CNN": "tddl-cnn"}
#: Accuracy in percent by number of training images, in the order of `MODELS`.
ACCURACY = {60_000: ("99.0", "97.1", "98.4"), 1_000: ("91.7", "89.8", "92.8")}

TABLES = (
    Printed(
        name="tddl-table-1",
        title="TDDL-CNN, table I: accuracy (%) on MNIST",
        headings=("training images",),
        columns=tuple(Column(heading=name, what=What(kind="clean"), model=model) for name, model in MODELS.items()),
        rows=tuple(
            Row(words=(f"{count:,}",), who=Who(model="{}", data="mnist", trained_on=count), printed=figures)
            for count, figures in ACCURACY.items()
        ),
        notes=(
            "The paper repeats 1,000 images with 20 subsets of 100 images of each class and prints the mean. Measured: "
            "one run for each subset, which its seed chooses; mean ± standard deviation over the subsets.",
        ),
    ),
)
