import pytest
import torch
from torch import nn

from robustcsc.attacks.losses import LOSSES, LossAsLogits, dlr, margin, targeted_dlr
from robustcsc.errors import AttackError

LOGITS = torch.tensor([[4.0, 1.0, 0.0, -1.0], [-1.0, -2.0, -3.0, -5.0], [0.0, 2.0, 1.0, -1.0]])
LABELS = torch.tensor([0, 1, 2])


def test_dlr_by_hand() -> None:
    # -(z_y - best other) / (first - third): -(4-1)/(4-0), -(-2+1)/(-1+3), -(1-2)/(2-0)
    torch.testing.assert_close(dlr(LOGITS, LABELS), torch.tensor([-0.75, 0.5, 0.5]))


def test_dlr_does_not_change_with_scale_and_shift() -> None:
    torch.testing.assert_close(dlr(1e4 * LOGITS - 7, LABELS), dlr(LOGITS, LABELS), rtol=1e-4, atol=0)


def test_targeted_dlr_by_hand() -> None:
    # -(z_y - z_t) / (first - (third + fourth) / 2)
    found = targeted_dlr(LOGITS, LABELS, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([-3 / 4.5, 1 / 3.0, 1 / 2.5]))


def test_margin_and_negative_log_by_hand() -> None:
    assert margin(LOGITS, LABELS).tolist() == [3.0, -1.0, -1.0]
    assert LOSSES["nll"](LOGITS, LABELS).tolist() == [-4.0, 2.0, -1.0]


@pytest.mark.parametrize("loss", LOSSES)
def test_cross_entropy_of_loss_as_logits_has_the_direction_of_the_loss(loss: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    images = torch.rand(3, 3, 2, 2, requires_grad=True)
    labels = model(images).argmax(1)  # where the label is third, DLR is 1 and has no direction
    seen = LossAsLogits(model, labels, LOSSES[loss])(images)
    (through,) = torch.autograd.grad(nn.functional.cross_entropy(seen, labels), images)
    (direct,) = torch.autograd.grad(LOSSES[loss](model(images), labels).sum(), images)
    cosine = nn.functional.cosine_similarity(through.flatten(1), direct.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(3))


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(AttackError, match="The DLR loss needs at least 3 classes, but the model has 2"):
        dlr(LOGITS[:, :2], torch.tensor([0, 1, 0]))
    with pytest.raises(AttackError, match="targeted DLR loss needs at least 4 classes, but the model has 3"):
        targeted_dlr(LOGITS[:, :3], LABELS, LABELS)
