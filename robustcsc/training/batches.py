"""The augmented batches of a training, and which of their images each of several processes has."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from random import Random
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from robustcsc.data import DecodedImages, ImageSet, MemoryImages, StreamedImages
from robustcsc.data.images import as_floats, sent
from robustcsc.errors import DataError, RobustCSCError
from robustcsc.training.augment import Share, add_gaussian_noise, crop_and_flip
from robustcsc.training.recipes import Recipe

Augmentation = Literal["none", "gaussian"]
#: Largest standard deviation of ``--augment gaussian``, in pixel units of [0, 1].
GAUSSIAN_MAX_STD = 0.2


class Batches:
    """This process's share of the augmented batches of every epoch.

    Raises:
        RobustCSCError: There are more processes than images in a batch.
        DataError: The first process has other images.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, seed: int, augment: Augmentation, fabric: Fabric) -> None:
        images = images.in_memory if isinstance(images, DecodedImages) else images
        self.images, self.recipe, self.seed, self.augment = images, recipe, seed, augment
        self.fabric = fabric
        self.per_epoch = max(1, len(images) // recipe.batch_size)
        self.share = Share(min(recipe.batch_size, len(images)), fabric.global_rank, fabric.world_size)
        if fabric.world_size > 1:
            self._check_share()
        if isinstance(images, MemoryImages):
            self.pixels = images.pixels.to(fabric.device)
            self.labels = images.labels.to(fabric.device)

    def _check_share(self) -> None:
        """Refuses batches that cannot be divided, and other images than the first process has."""
        images, share = self.images, self.share
        if share.processes > share.count:
            raise RobustCSCError(
                f"{share.processes} processes divide batches of {share.count} images: start at most {share.count}."
            )
        facts = (images.files, images.classes, images.labels.tolist(), images.positions.tolist())
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        if digest != self.fabric.broadcast(digest):
            raise DataError(
                f"Process {share.rank} on {platform.node()} finds other training images than the first process: all "
                "machines need the same files."
            )

    def steps_in(self, epoch: int) -> int:
        """Returns the number of batches of an epoch; the last one is shorter if the recipe counts steps."""
        return min(self.per_epoch, self.recipe.steps(self.per_epoch) - epoch * self.per_epoch)

    def seed_of(self, epoch: int, index: int) -> int:
        """Returns the seed of what is random on one batch of one process."""
        return Random(f"{self.seed} {epoch} {index} {self.share.rank}").getrandbits(62)

    def weighted(self, loss: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean loss of this process, weighted so that the mean over processes is that of all images."""
        if self.share.processes == 1:
            return loss
        return loss * (len(labels) * self.share.processes / self.of_all(loss.new_tensor(len(labels))))

    def of_all(self, own: Tensor) -> Tensor:
        """Returns the sum over all processes."""
        total = self.fabric.all_reduce(own, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def of_epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images (n, C, H, W) and labels (n,) of each batch of an epoch, counted from 0.

        Raises:
            DataError: Of several processes, this one can read none of its images of a batch.
        """
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        whole = torch.split(order[: self.steps_in(epoch) * self.recipe.batch_size], self.recipe.batch_size)
        count = 0
        for inputs, labels in self._augmented([self.share.of(rows) for rows in whole], epoch, generator):
            if self.augment == "gaussian":
                # Of one process, draws are for the images that can be read.
                share = self.share if self.share.processes > 1 else None
                inputs = add_gaussian_noise(inputs, GAUSSIAN_MAX_STD, generator, share)
            count += 1
            yield inputs, labels
        if self.share.processes > 1 and count < len(whole):
            raise DataError(
                f"Process {self.share.rank} on {platform.node()} can read none of the images of its share of a batch: "
                "repair or delete the unreadable files."
            )

    def _augmented(self, own: list[Tensor], epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        recipe, device = self.recipe, self.fabric.device
        if isinstance(self.images, StreamedImages):  # the worker processes make random resized crops
            for batch in self.images.training_batches(
                len(own[0]), epoch=epoch, seed=self.seed, order=torch.cat(own), device=device
            ):
                yield batch.images, batch.labels
            return
        for rows in own:
            rows = sent(rows, device)
            inputs = as_floats(self.pixels[rows], device)
            yield crop_and_flip(inputs, recipe.crop_padding, recipe.flip, generator, self.share), self.labels[rows]
