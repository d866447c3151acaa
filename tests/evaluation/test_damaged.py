"""A folder with damaged files gives the counts of the folder without them, in the order of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from robustcsc.data import DecodedImages, ImageSet, StreamedImages
from robustcsc.data.folder import list_images, open_listing
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.measurements.adaptations import BatchStatistics, Order
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Outcomes, Record
from robustcsc.measurements.threats import ThreatModel

Damaged = DecodedImages | StreamedImages
#: Rows of the files that are damaged: neither the first nor the last ones.
DAMAGED = (17, 30)

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(params=[2**30, 0], ids=["in memory", "streamed"])
def damaged(request: pytest.FixtureRequest, images: ImageSet, tmp_path: Path) -> Damaged:
    """Sixty digits as files, two of which are none."""
    (batch,) = images.batches(60, as_bytes=True)
    for row, (pixels, label) in enumerate(zip(batch.images, batch.labels.tolist(), strict=True)):
        path = tmp_path / "test" / str(label) / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(path)
    listing = list_images(tmp_path / "test")
    for row in DAMAGED:
        (tmp_path / "test" / listing.files[row]).write_bytes(b"no image")
    return open_listing(listing, "test", None, 0, request.param)


@pytest.fixture
def whole(damaged: Damaged) -> ImageSet:
    """The images of the other files, under the same positions."""
    decoded = open_listing(list_images(damaged.root), "test", None, 0, 2**30)
    assert isinstance(decoded, DecodedImages)
    return decoded.in_memory


def outcomes(records: Iterable[Record]) -> list[Outcomes | None]:
    return [record.outcomes for record in records]


def test_images_that_are_read_in_another_order_are_counted_in_their_own(
    model: LoadedModel, damaged: Damaged, whole: ImageSet, measure: Callable[..., list[Record]]
) -> None:
    """All in one batch, whose statistics do not depend on the order."""
    made = tuple(BatchStatistics(batch=60, order=order) for order in (Order.GIVEN, Order.SHUFFLED, Order.CLASS))
    asked = replace(model, test_time=made)

    def clean(planner: Planner) -> list[Chain]:
        return [planner.clean(planner.model.policies(["train"]))]

    found = outcomes(measure(asked, clean, images=damaged))
    assert found == outcomes(measure(asked, clean, images=whole))
    assert found[0] is not None and found[0].count == 58
    assert 0 < found[0].bits.bit_count() < 58


@pytest.mark.parametrize("attack", ["pgd:steps=2", "apgd:steps=2", "square:queries=20"])
@pytest.mark.parametrize("protocol", [Protocol.PLAIN, Protocol.ADAPTIVE])
def test_attacks_leave_out_what_cannot_be_read(
    attack: str,
    protocol: Protocol,
    model: LoadedModel,
    damaged: Damaged,
    whole: ImageSet,
    measure: Callable[..., list[Record]],
) -> None:
    """The adaptive policy is attacked without a record of what is right when clean."""
    name, _, setting = attack.partition(":")
    key, _, value = setting.partition("=")
    step = AttackStep.of(name, **{key: int(value)})
    request = AttackRequest(steps=(step,), threats=(ThreatModel("linf", 0.1),), protocols=(protocol,))

    def plan(planner: Planner) -> list[Chain]:
        return [planner.clean(planner.model.policies(["train"])), *attack_plan(planner, request)]

    found = outcomes(measure(model, plan, images=damaged))
    assert found == outcomes(measure(model, plan, images=whole))
    assert found[0] is not None and found[0].count == 58
