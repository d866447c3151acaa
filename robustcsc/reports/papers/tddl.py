"""What TDDL-CNN's table I prints: Tirer and Giryes, EUSIPCO 2018.

The paper, "Task-driven dictionary learning based on convolutional neural network features", prints fractions; they are
in percent here.
"""

from __future__ import annotations

from robustcsc.presentation.table import Worded
from robustcsc.reports.papers.quantities import Entrant, accuracy
from robustcsc.reports.papers.template import PaperColumn, PaperRow, PaperTable

MODELS = {"full-CNN": "mnist-cnn", "TDDL-LIN": "tddl-lin", "TDDL-CNN": "tddl-cnn"}
#: Accuracy in percent by number of training images, in the order of `MODELS`.
ACCURACY = {60_000: (99.0, 97.1, 98.4), 1_000: (91.7, 89.8, 92.8)}

_COLUMNS = [PaperColumn(name, accuracy(), model, digits=1) for name, model in MODELS.items()]
_ROWS = [
    PaperRow((Worded(count, f"{count:,}"),), Entrant(model="{}", data="mnist", trained_on=count), figures)
    for count, figures in ACCURACY.items()
]
_NOTE = (
    "The paper repeats 1,000 images with 20 subsets of 100 images of each class and prints the mean. Measured: one run "
    "for each subset, which its seed chooses; mean ± standard deviation over the subsets."
)
TABLES = (
    PaperTable(
        "tddl-table-1", "TDDL-CNN, table I: accuracy (%) on MNIST", ("training images",), _COLUMNS, _ROWS, (_NOTE,)
    ),
)
