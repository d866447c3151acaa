from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.passes import GradientChecking, Passes, Piece, Plan, Timing
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, SeverityTable
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import ThreatModel
from robustcsc.presentation.words import MISSING
from robustcsc.reports.summary.plans import plan_table

TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
TIMING = Timing(fastest=130.0, slowest=200.0, images=85, device="cpu")


def corruption(severity: int, **counts: int) -> Piece:
    fog = Corruption(name="fog", severity=severity, table=TABLE)
    asked = Passes(forward=100 * counts["missing"], residual=100)
    return Piece(what=fog, images=100, passes=asked if counts["missing"] else Passes(), **counts)


def test_the_table_of_a_sweep_has_its_cells_passes_and_time() -> None:
    clean = Piece(what=Clean(), missing=0, stored=2, images=100)
    pieces = (clean, corruption(1, missing=1, stored=1), corruption(2, missing=2, stored=0))
    table = plan_table(Plan(pieces=pieces, timing=TIMING))
    assert [it.heading for it in table.columns] == [
        *("work", "cells", "records", "stored", "images", "forward", "residual")
    ]
    assert table.rows == (
        ("clean images", None, 0, 2, None, 0, 0),
        ("corruptions", 2, 3, 1, 200, 300, 200),
        ("all", 2, 3, 3, 200, 300, 200),
    )
    assert table.notes[-1] == (
        "About 2 to 3 min in one process with 1 thread on cpu, as timed on batches of 85 of the images, "
        "without the start of the program."
    )


def test_bounds_are_said_to_be_bounds() -> None:
    made = Attack(steps=(AttackStep.of("apgd"),), threat=ThreatModel("linf", 0.1), protocol=Protocol.PLAIN)
    bound = Passes(forward=10, gradient=5, exact=False)
    pieces = (
        Piece(what=GradientChecking(), missing=0, stored=0, images=10, passes=bound),
        Piece(what=made, missing=1, stored=0, images=100, passes=bound * 2),
    )
    table = plan_table(Plan(pieces=pieces, timing=TIMING))
    assert [row[1:] for row in table.texts] == [
        (MISSING, "0", "0", MISSING, "≤ 10", "≤ 5"),
        ("1", "1", "0", "100", "≤ 20", "≤ 10"),
        ("1", "1", "0", "100", "≤ 30", "≤ 15"),
    ]
    assert [row[0] for row in table.texts] == ["checks of gradients", "APGD L∞", "all"]
    assert table.notes[-1].startswith("At most about 2 to 3 min in one process with 1 thread on cpu, as")


def test_a_plan_without_work_says_so() -> None:
    table = plan_table(Plan(pieces=(Piece(what=Clean(), missing=0, stored=1, images=10),)))
    assert table.notes == ("Nothing is left to measure.",)
