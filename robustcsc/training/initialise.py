"""Initialisation of a task-driven model: a dictionary of each class's features, then the best classifier of the codes.

Source: Tirer and Giryes, EUSIPCO 2018, section IV: with randomly initialised features, online dictionary learning on
the features of each class, started from some of them, gives the class's share of the atoms; with this dictionary, the
classifier W minimises eq. 5.

Differences from the paper:
- It gives neither the duration nor the lambda of dictionary learning: here `PASSES` passes over the features with the
  model's lambda_1, in mini-batches of `BATCH_SIZE`, by scikit-learn's `MiniBatchDictionaryLearning`.
- If the number of classes does not divide the number of atoms, the first classes get one atom more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.data import ImageSet
from robustcsc.errors import DataError
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.tracing import run_until_called
from robustcsc.models.tddl import TaskDriven
from robustcsc.progress import Progress, silent

#: Passes of online dictionary learning over the features of a class, and the size of a mini-batch.
PASSES, BATCH_SIZE = 5, 100
#: Batch size for features and codes.
IMAGES_AT_A_TIME = 1000
#: Largest number of L-BFGS iterations for the classifier.
CLASSIFIER_STEPS = 200


def initialise(model: nn.Module, images: ImageSet, *, nu: float, seed: int = 0, progress: Progress = silent) -> None:
    """Initialises dictionary and classifier of a task-driven model in place; other models are left unchanged.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits.
        images: Training images.
        nu: Weight nu_1 of half the squared norm of W.
        seed: Seed of the initial atoms and of the order of online learning.
        progress: Called after each class and each batch of images.

    Raises:
        DataError: If a class has fewer images than atoms, or no atom.
    """
    network = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if network is None:
        return
    with torch.no_grad(), evaluation_mode(model):
        features, labels = _features_of(model, network, images, progress)
        shares = _shares(network.code.dictionary.shape[1], images.classes, labels)
        atoms = []
        for label, share in enumerate(shares):
            rows = features[labels == label]
            atoms.append(learn_atoms(rows, share, network.code.lam0, seed=seed + label))
            progress("dictionaries of the classes", label + 1, len(shares))
        network.code.dictionary.copy_(torch.cat(atoms, 1))
        network.code.project_parameters()
        codes = _codes_of(network, features, progress)
    weight = fit_classifier(codes, labels, len(images.classes), nu)
    with torch.no_grad():
        network.head.weight.copy_(weight)


def learn_atoms(features: Tensor, count: int, lam: float, *, seed: int) -> Tensor:
    """Returns a dictionary ``(m, count)`` of atoms in the unit ball for `features` ``(n, m)``, by online learning.

    Minimises ``1/2 ||x - D alpha||^2 + lam ||alpha||_1`` over D and alpha (Mairal et al., JMLR 2010). The initial atoms
    are `count` of the at least `count` features, scaled to unit norm; the seed draws them and the order of learning.
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:count]
    learning = MiniBatchDictionaryLearning(
        count,
        alpha=lam,
        max_iter=PASSES,
        tol=0,  # with neither rule for stopping early, all passes are made
        max_no_improvement=None,
        batch_size=min(BATCH_SIZE, len(features)),
        fit_algorithm="cd",
        dict_init=F.normalize(features[chosen].double(), dim=1).numpy(),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the codes of one mini-batch need not converge
        learning.fit(features.double().numpy())
    return torch.from_numpy(np.ascontiguousarray(learning.components_.T)).to(features)


def fit_classifier(codes: Tensor, labels: Tensor, num_classes: int, nu: float) -> Tensor:
    """Returns the W' ``(num_classes, p)`` that minimises the mean cross-entropy plus ``nu / 2 ||W||^2`` (eq. 5 and 15).

    Codes are ``(n, p)``, labels ``(n,)`` int64; `nu` is at least 0, and above 0 the minimum is unique.
    """
    weight = codes.new_zeros(num_classes, codes.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight], max_iter=CLASSIFIER_STEPS, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(codes @ weight.T, labels) + nu / 2 * weight.square().sum()
        torch.autograd.backward(value)
        return value

    solver.step(objective)  # type: ignore[no-untyped-call]
    return weight.detach()


def _shares(atoms: int, classes: Sequence[str], labels: Tensor) -> list[int]:
    """Returns the number of atoms of each class; raises DataError as `initialise`."""
    each, more = divmod(atoms, len(classes))
    shares = [each + (label < more) for label in range(len(classes))]
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    for name, share, count in zip(classes, shares, counts, strict=True):
        if share > count or not share:
            raise DataError(
                f"Class {name!r} has {count} training images for its {share} of {atoms} atoms: "
                "use more images or, with --model-option atoms=N, another number of atoms."
            )
    return shares


def _features_of(model: nn.Module, network: TaskDriven, images: ImageSet, progress: Progress) -> tuple[Tensor, Tensor]:
    """Returns features and labels of all images that can be read, on the CPU; forward passes end after features."""
    outputs: list[Tensor] = []
    labels: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output.cpu())

    device = next(model.parameters()).device
    for batch in images.batches(IMAGES_AT_A_TIME, device=device):
        run_until_called(partial(model, batch.images), [network.features], keep)
        labels.append(batch.labels.cpu())
        progress("features", sum(map(len, outputs)), len(images))
    return torch.cat(outputs), torch.cat(labels)


def _codes_of(network: TaskDriven, features: Tensor, progress: Progress) -> Tensor:
    """Returns the codes of all features, on the CPU."""
    device = network.code.dictionary.device
    codes: list[Tensor] = []
    for part in torch.split(features, IMAGES_AT_A_TIME):
        codes.append(network.code(part.to(device)).cpu())
        progress("codes", sum(map(len, codes)), len(features))
    return torch.cat(codes)
