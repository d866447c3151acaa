"""The dictionaries of a model: pictures of the atoms, their norms and their coherence.

Source: SDNet (Dai et al., NeurIPS 2022), figure 5, which shows each atom of the first layer as a small image. Signals
of deeper layers are codes; their atoms are drawn as a matrix of grey filters, one atom per row and one channel per
column.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcsc.inspection.layers import chosen, coding_layers, shown
from robustcsc.inspection.learned.coherence import mutual_coherence
from robustcsc.inspection.learned.task_driven import (
    draw_backprojected,
    draw_projection,
    draw_uses,
    linear_features,
    study_atoms,
)
from robustcsc.inspection.sheets import draw_sheet, stretched
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.layers.coding import ConvCodingLayer
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.presentation.drawing import Drawing
from robustcsc.presentation.table import Column, Table
from robustcsc.presentation.words import slug

#: Largest number of atoms and of channels drawn for a deeper layer.
MOST_FILTERS = 64


@dataclass(frozen=True)
class Dictionary:
    """The atoms of a layer.

    Attributes:
        name: Name of the layer.
        layer: The layer.
    """

    name: str
    layer: ConvCodingLayer | ElasticNetCode

    @property
    def operator(self) -> ConvOperator:
        """The atoms and their placement; those of vectors ``(N, m)`` are images of one pixel."""
        if isinstance(self.layer, ElasticNetCode):
            return ConvOperator(self.layer.dictionary.T[:, :, None, None])
        return self.layer.operator

    @property
    def atoms(self) -> Tensor:
        """``(k, C, kh, kw)``, or ``(k, m)`` for vectors."""
        atoms = self.operator.weight.detach()
        return atoms[:, :, 0, 0] if isinstance(self.layer, ElasticNetCode) else atoms


@dataclass(frozen=True, kw_only=True)
class DictionaryFacts:
    """Norms and coherence of a dictionary.

    Attributes:
        layer: Name of the layer.
        kind: Kind of the layer.
        shape: Number of atoms and the shape of one.
        smallest_norm: Smallest l2 norm of an atom.
        largest_norm: Largest l2 norm of an atom.
        coherence: Mutual coherence, in [0, 1], without the identity in the dictionary of MSD-CSC.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    smallest_norm: float
    largest_norm: float
    coherence: float


def inspect_atoms(specimen: Specimen) -> Findings[DictionaryFacts]:
    """Returns norms and coherence of the dictionaries of a model.

    Images are used only to draw the atoms of a task-driven layer whose features are not linear, see `study_atoms`.

    Raises:
        RobustCSCError: As for `dictionaries`, or images are needed and cannot be read.
    """
    found = dictionaries(specimen.model, specimen.layers)
    told = [facts(it) for it in found]
    drawings = [drawing for it in found for drawing in _drawings(specimen, it)] if specimen.draw else []
    return Findings(facts=told, tables=(atoms_table(told, specimen.name),), drawings=drawings)


def _drawings(specimen: Specimen, dictionary: Dictionary) -> list[Drawing]:
    """Returns the atoms as pictures, and the projection before them if they are of linear features."""
    name, subject = dictionary.name, specimen.name
    if not isinstance(dictionary.layer, ElasticNetCode):
        return [draw_atoms(dictionary, subject)]
    projection, file = linear_features(specimen.model), slug("atoms", name)
    if projection is None:
        uses = study_atoms(specimen, dictionary.layer)
        return [draw_uses(uses, file, f"What the atoms of {name} stand for: {subject}")]
    shape = specimen.image_shape
    return [
        draw_backprojected(dictionary.atoms, projection, shape, file, f"Atoms of {name}: {subject}"),
        draw_projection(projection, shape, subject),
    ]


def dictionaries(model: nn.Module, patterns: Iterable[str] = ()) -> list[Dictionary]:
    """Returns the dictionaries of the sparse-coding layers, in the order of registration.

    Args:
        model: A model with such layers.
        patterns: Names of layers, see `chosen`; all by default.

    Raises:
        RobustCSCError: If the model has none, or a pattern matches none.
    """
    layers = coding_layers(model).items()
    # A user's own layer need not have any.
    found = {name: it for name, it in layers if isinstance(it, ConvCodingLayer | ElasticNetCode)}
    return [Dictionary(shown(name), layer) for name, layer in chosen(found, patterns).items()]


def facts(dictionary: Dictionary) -> DictionaryFacts:
    """Returns norms and coherence of a dictionary."""
    norms = torch.linalg.vector_norm(dictionary.atoms.flatten(1).double(), dim=1)
    return DictionaryFacts(
        layer=dictionary.name,
        kind=dictionary.layer.kind,
        shape=tuple(dictionary.atoms.shape),
        smallest_norm=float(norms.min()),
        largest_norm=float(norms.max()),
        coherence=mutual_coherence(dictionary.operator),
    )


def atoms_table(found: Iterable[DictionaryFacts], subject: str) -> Table:
    """Returns one row per dictionary."""
    rows = tuple(
        (
            *(it.layer, it.kind, it.shape[0], "x".join(map(str, it.shape[1:]))),
            *(it.smallest_norm, it.largest_norm, it.coherence),
        )
        for it in found
    )
    columns = (
        *map(Column, ("layer", "kind", "atoms", "of")),
        Column("smallest norm", significant=4),
        Column("largest norm", significant=4),
        Column("coherence", digits=3),
    )
    notes = ("coherence: the largest inner product of two different atoms, scaled to unit norm, at any positions.",)
    return Table("atoms", f"Dictionaries: {subject}", columns, rows, notes)


def draw_atoms(dictionary: Dictionary, subject: str) -> Drawing:
    """Returns the atoms of a convolutional dictionary as pictures, each stretched to its full range."""
    atoms = dictionary.atoms.double().cpu()
    count, channels = atoms.shape[:2]
    title = f"Atoms of {dictionary.name}: {subject}"
    name = slug("atoms", dictionary.name)
    if channels in (1, 3):
        described = f"The {count} atoms in the order of reading, each stretched to its full range."
        return draw_sheet(name, title, described, stretched(atoms.numpy()))
    filters = atoms[:MOST_FILTERS, :MOST_FILTERS]
    described = (
        f"One row for each of {_part(len(filters), count, 'atoms')}, with one filter for each of "
        f"{_part(filters.shape[1], channels, 'channels')}; each atom stretched to its full range."
    )
    pictures = stretched(filters.numpy()).reshape(-1, 1, *atoms.shape[2:])
    return draw_sheet(name, title, described, pictures, columns=[""] * filters.shape[1], rows=[""] * len(filters))


def _part(shown_number: int, whole: int, what: str) -> str:
    return f"the {whole} {what}" if shown_number == whole else f"the first {shown_number} of {whole} {what}"
