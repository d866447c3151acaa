"""What is seen of a guest on a few images, and that own models and honest guests raise nothing."""

import pytest
import torch
from torch import Tensor, nn

from robustcsc.data import load
from robustcsc.errors import ModelError
from robustcsc.evaluation.doubts import looked_at
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import Subject
from robustcsc.models.checkpoint import load_shipped

DIGITS = load("digits", split="test")
TRAINED = load_shipped("sdnet-digits").model
NETWORK = TRAINED.get_submodule("network")  # what follows the normalisation


class Guest(nn.Module):
    """The shipped digits model, in a form that this class's children spoil."""

    def forward(self, images: Tensor) -> Tensor:
        return TRAINED(images)  # type: ignore[no-any-return]


class Probabilities(Guest):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Rounded(Guest):
    """Positive, but no probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1).mul(2)


class Sigmoids(Guest):
    """One probability per class, which need not add up to 1."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).sigmoid()


class Dropout(Guest):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(images), 0.1, training=True)


class Noisy(Guest):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.05 * torch.randn_like(images))


class BatchStatistics(Guest):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return nn.functional.batch_norm(logits, None, None, training=True)


class Centred(Guest):
    """Subtracts the mean image of the batch."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0) + 0.3)


class RunningStatistics(Guest):
    """Stays in training mode, and changes its running statistics with each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm1d(10)

    def forward(self, images: Tensor) -> Tensor:
        self.normalize.train()
        return self.normalize(super().forward(images.repeat(2, 1, 1, 1)))[: len(images)]  # type: ignore[no-any-return]


class Together(Guest):
    """Is honest, but takes no single image, as batch normalisation of vectors does in training mode."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) == 1:
            raise ValueError("Expected more than 1 value per channel")
        return super().forward(images)


class Squeezed(Guest):
    """Is honest, but forgets the first axis of a single image."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze()


class Bare(Guest):
    """The network without its normalisation, as weights of others often come."""

    def forward(self, images: Tensor) -> Tensor:
        return NETWORK(images)  # type: ignore[no-any-return]


class Untrained(Guest):
    """Is wrong on images of either kind."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(1 - images)


def guest(model: nn.Module) -> LoadedModel:
    return LoadedModel(
        subject=Subject(run="r", model="own:net", weights="0" * 64), model=model, device=torch.device("cpu")
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Guest, ()),
        (Rounded, ()),
        (Sigmoids, ()),
        (Untrained, ()),
        (Probabilities, (Doubt.PROBABILITIES,)),
        (Dropout, (Doubt.RANDOM,)),
        (Noisy, (Doubt.RANDOM,)),
        (Centred, (Doubt.DEPENDS_ON_BATCH,)),
        (RunningStatistics, (Doubt.DEPENDS_ON_BATCH,)),
        (BatchStatistics, (Doubt.DEPENDS_ON_BATCH, Doubt.NOT_ALONE)),
        (Together, (Doubt.NOT_ALONE,)),
        (Squeezed, (Doubt.NOT_ALONE,)),
    ],
)
def test_what_is_wrong_with_a_guest_is_seen(kind: type[nn.Module], expected: tuple[Doubt, ...]) -> None:
    torch.manual_seed(0)
    model = kind().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert looked_at(guest(model), DIGITS).doubts == expected
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_missing_normalisation_is_seen() -> None:
    (batch,) = DIGITS.subset(torch.arange(200)).batches(200)
    right = [int((model.eval()(batch.images).argmax(1) == batch.labels).sum()) for model in (TRAINED, NETWORK)]
    assert right == [198, 20]
    assert looked_at(guest(Bare()), DIGITS).doubts == (Doubt.NOT_NORMALISED,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_are_refused_with_their_number(value: float) -> None:
    class Broken(Guest):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[::2, 3] = value
            return logits

    with pytest.raises(ModelError, match="own:net returned logits that are not finite for 32 of 64 images"):
        looked_at(guest(Broken()), DIGITS)
