import torch
from torch import nn

from robustcsc.attacks.catalog import counted
from robustcsc.attacks.gradient import pgd
from robustcsc.measurements.threats import ThreatModel


def test_images_are_counted_forwards_and_backwards() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    images = torch.rand(5, 3, 2, 2, requires_grad=True)
    with counted(model) as calls:
        model(images[:2]).detach()
        logits = model(images)
        for column in range(3):
            torch.autograd.grad(logits[:, column].sum(), images, retain_graph=True)
    assert (calls.forward, calls.gradient) == (7, 15)
    model(images)
    assert calls.forward == 7  # the hook is gone


def test_what_pgd_costs_is_what_it_should() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    images, labels = torch.rand(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64)
    with counted(model) as calls:
        pgd(model, images, labels, ThreatModel("linf", 1e-4), steps=4, random_start=False)
    # One image to see that there is a gradient, and 4 steps.
    assert (calls.forward, calls.gradient) == (1 + 4 * 5, 1 + 4 * 5)
    labels = model(images).argmax(1)
    with counted(model) as calls:
        pgd(model, images, labels, ThreatModel("linf", 1e-6), steps=4, restarts=2)
    # Between restarts there is a choice: the outcome before and after each.
    assert (calls.forward, calls.gradient) == (1 + 2 * 4 * 5 + 3 * 5, 1 + 2 * 4 * 5)
