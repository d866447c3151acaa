"""Elastic-net codes of many signals over one dictionary, by following the homotopy paths of all signals at once.

Solves, for every signal x,

    argmin_z  1/2 ||x - D z||_2^2 + lambda_1 ||z||_1 + lambda_2 / 2 ||z||_2^2

(Mairal, Bach and Ponce, "Task-Driven Dictionary Learning", IEEE TPAMI 2012, eq. 3). With ``Q = D'D + lambda_2 I`` and
``c = D'x`` it is a lasso in Q and c, whose solution is piecewise linear in lambda_1. Each signal follows its own path
(Osborne, Presnell and Turlach, IMA J. Numer. Anal. 2000) down from ``lambda_1 = max |c|``, where the solution is zero.
On the active set A with signs s the solution moves along ``Q_AA^-1 s`` until the correlation of an inactive atom
reaches lambda_1 (the atom enters), a coefficient reaches zero (its atom leaves), or lambda_1 has the requested value.
Signals of a batch share the operations and nothing else.

Paths are followed in float32, only to find A and s. The coefficients then solve ``Q_AA z = c_A - lambda_1 s`` in
float64, and the duality gap decides whether they are accepted. A signal whose gap is above `GAP` follows its path again
in float64; if that fails too (ties, or linearly dependent atoms), FISTA takes over.

`benchmarks/elastic_net.py` compares the method with FISTA and with scikit-learn. Coordinate descent is not among them:
one sweep over the atoms takes as many operations on the whole batch as there are atoms.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import fista

#: Largest duality gap of a solution, relative to ``1/2 ||x||^2``, the objective of the zero code.
GAP = 1e-12
#: Added to the diagonal of Q while a path is followed (relative to its largest entry), so that linearly dependent atoms
#: replace one another instead of dividing by zero. The final coefficients are computed without it.
PATH_RIDGE = {torch.float32: 1e-5, torch.float64: 1e-10}
#: Signals processed together: enough to share the cost of a call, few enough for their state to fit a CPU's cache.
CPU_CHUNK, GPU_CHUNK = 1024, 16384
#: Number of signals below which finished ones are not removed from the batch.
SMALL_CHUNK = 48
#: Largest number of steps per atom on a path; in practice there are fewer steps than atoms.
STEPS_PER_ATOM = 8
#: Rounds of FISTA, and steps in each, for the signals that following the path did not solve.
ROUNDS, ROUND_STEPS = 200, 100
#: Slots for active atoms that are allocated at once.
SLOTS = 4
#: By how many units of rounding a correlation may exceed the bound before it counts as having reached it.
SLACK = 8


@torch.no_grad()
def elastic_net(features: Tensor, dictionary: Tensor, lam: Tensor, lam2: float = 0.0) -> Tensor:
    """Returns the elastic-net code of every signal, with a relative duality gap of at most `GAP` in float64.

    Args:
        features: The signals x, ``(N, m)``, float32 or float64; inner computations are in float64.
        dictionary: D, ``(m, p)``, one atom per column, none of them zero.
        lam: lambda_1 of each signal, ``(N,)``, positive.
        lam2: lambda_2, at least 0.

    Returns:
        ``(N, p)`` in the type of `features`; coefficients outside the active set are exactly 0.
    """
    atoms = dictionary.double()
    gram = atoms.T @ atoms
    gram.diagonal().add_(lam2)
    size = CPU_CHUNK if features.device.type == "cpu" else GPU_CHUNK
    chunks = zip(torch.split(features, size), torch.split(lam, size), strict=True)
    codes = [_solve(_Problem(x.double(), atoms, gram, weight.double(), lam2)) for x, weight in chunks]
    return torch.cat(codes).to(features.dtype) if codes else features.new_zeros(0, dictionary.shape[1])


def duality_gap(features: Tensor, dictionary: Tensor, codes: Tensor, lam: Tensor, lam2: float = 0.0) -> Tensor:
    """Returns the duality gap of every code, ``(N,)``: an upper bound on how far its objective is from the optimum.

    The dual point is the residual of the problem ``[D; sqrt(lam2) I]``, scaled into the feasible set
    ``||D'r||_inf <= lam``.

    Args:
        features: ``(N, m)``.
        dictionary: ``(m, p)``.
        codes: ``(N, p)``.
        lam: ``(N,)``, positive.
        lam2: At least 0.
    """
    residual = features - codes @ dictionary.T
    correlation = residual @ dictionary - lam2 * codes
    tiny = torch.finfo(features.dtype).tiny
    scale = (lam / correlation.abs().amax(1).clamp_min(tiny)).clamp_max(1)
    energy = residual.square().sum(1) + lam2 * codes.square().sum(1)
    primal = energy / 2 + lam * codes.abs().sum(1)
    return primal + scale.square() * energy / 2 - scale * (residual * features).sum(1)


@dataclass(frozen=True)
class _Problem:
    """Some signals and the problem they share, in float64."""

    features: Tensor
    dictionary: Tensor
    gram: Tensor
    lam: Tensor
    lam2: float

    def only(self, rows: Tensor) -> _Problem:
        """Returns the problem for some of the signals."""
        return replace(self, features=self.features[rows], lam=self.lam[rows])

    def unsolved(self, codes: Tensor) -> Tensor:
        """Returns the rows whose duality gap is too large or NaN."""
        gap = duality_gap(self.features, self.dictionary, codes, self.lam, self.lam2)
        return (~(gap <= GAP / 2 * self.features.square().sum(1))).nonzero().flatten()


def _solve(problem: _Problem) -> Tensor:
    codes = _follow_paths(problem, torch.float32)
    for finish in (lambda rest: _follow_paths(rest, torch.float64), _descend):
        rows = problem.unsolved(codes)
        if len(rows):
            codes[rows] = finish(problem.only(rows))
    return codes


def _descend(problem: _Problem) -> Tensor:
    """Returns codes by FISTA, restarted after every round; a signal stops when it is solved, or after `ROUNDS`."""
    step_size = 1 / float(torch.linalg.eigvalsh(problem.gram)[-1])
    codes = problem.gram.new_zeros(len(problem.lam), len(problem.gram))
    rows = torch.arange(len(codes), device=codes.device)
    for _ in range(ROUNDS):
        rest = problem.only(rows)
        correlation, threshold = rest.features @ rest.dictionary, step_size * rest.lam[:, None]
        codes[rows] = fista(
            lambda z, c=correlation: z @ problem.gram - c,  # type: ignore[misc]
            lambda v, t=threshold: soft_threshold(v, t),  # type: ignore[misc]
            codes[rows],
            step_size,
            ROUND_STEPS,
        )
        rows = rows[rest.unsolved(codes[rows])]
        if not len(rows):
            break
    return codes


@dataclass
class _Paths:
    """The state of n signals on their paths.

    An atom that enters takes the next of K slots. Slots that are unused, or whose atom left, hold atom p, which is
    zero. So does the last slot, which receives the writes of signals that have arrived.

    Attributes:
        rows: Which signals these are, ``(n,)``.
        correlation: ``c - Q z``, ``(n, p + 1)``.
        level: The lambda that the current coefficients belong to, ``(n, 1)``.
        goal: The requested lambda, ``(n, 1)``.
        atoms: Atom in each slot, ``(n, K)``.
        signs: Sign of its correlation, ``(n, K)``, 0 in an empty slot.
        values: Its coefficient, ``(n, K)``, 0 in an empty slot.
        inverse: ``Q_AA^-1``, ``(n, K, K)``; rows and columns of empty slots have no meaning.
        direction: ``Q_AA^-1 s``: how the coefficients grow as lambda falls, ``(n, K)``, 0 in an empty slot.
        used: Number of slots used so far, ``(n, 1)``.
        left: Atom that left in the last step (p for none), ``(n, 1)``. Its correlation is still at the bound and moves
            inwards, so it must not enter again at once.
        arrived: Which signals have reached their goal and no longer change, ``(n, 1)``.
    """

    rows: Tensor
    correlation: Tensor
    level: Tensor
    goal: Tensor
    atoms: Tensor
    signs: Tensor
    values: Tensor
    inverse: Tensor
    direction: Tensor
    used: Tensor
    left: Tensor
    arrived: Tensor

    @classmethod
    def start(cls, correlation: Tensor, goal: Tensor, gram: Tensor) -> _Paths:
        """Returns the paths at ``max |c|``, with the atom of that correlation in the first slot."""
        n, free = len(goal), len(gram) - 1
        level, first = correlation.abs().max(1, keepdim=True)
        empty = correlation.new_zeros(n, SLOTS)
        signs = empty.index_copy(1, first.new_zeros(1), correlation.gather(1, first).sign())
        inverse = correlation.new_zeros(n, SLOTS, SLOTS)
        inverse[:, 0, 0] = 1 / gram.diagonal()[first[:, 0]]
        return cls(
            rows=torch.arange(n, device=goal.device),
            correlation=correlation.clone(),
            level=level,
            goal=goal,
            atoms=torch.full((n, SLOTS), free, device=goal.device).index_copy_(1, first.new_zeros(1), first),
            signs=signs,
            values=empty,
            inverse=inverse,
            direction=_times(inverse, signs),
            used=torch.ones_like(first),
            left=torch.full_like(first, free),
            arrived=level <= goal,
        )

    def only(self, chosen: Tensor) -> _Paths:
        """Returns the paths of the chosen signals, a mask ``(n, 1)``."""
        rows = chosen[:, 0].nonzero()[:, 0]
        return _Paths(*(getattr(self, field.name)[rows] for field in fields(self)))

    def add_slots(self, free: int) -> None:
        """Adds room for `SLOTS` more active atoms."""
        self.atoms = F.pad(self.atoms, (0, SLOTS), value=free)
        self.signs, self.values, self.direction = (
            F.pad(each, (0, SLOTS)) for each in (self.signs, self.values, self.direction)
        )
        self.inverse = F.pad(self.inverse, (0, SLOTS, 0, SLOTS))

    def step(self, gram: Tensor) -> None:
        """Moves every signal to the next event on its path, in place."""
        direction = self.direction
        slope = _combine(gram, self.atoms, direction)
        until_entry, entering = self._entries(slope)
        until_zero = (-self.values / direction).masked_fill_(self.values * direction >= 0, torch.inf)
        until_exit, leaving = until_zero.min(1, keepdim=True)
        until_event = torch.minimum(until_entry, until_exit).clamp_(min=0)
        until_goal = self.level - self.goal
        distance = torch.minimum(until_event, until_goal)
        self.values.addcmul_(distance, direction)
        self.correlation.addcmul_(distance, slope, value=-1)
        self.arrived |= until_goal <= until_event
        self.level = torch.where(self.arrived, self.goal, self.level - distance)
        self._exchange(gram, slope, entering, leaving, until_exit <= until_entry)

    def _entries(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Returns how far lambda may fall until an inactive atom's correlation reaches it, and that atom's index."""
        eps = torch.finfo(slope.dtype).eps
        bound = self.level * (1 + SLACK * eps)
        # Where the denominator is not positive, the correlation moves away from the bound and never reaches it.
        above = (bound - self.correlation).div_((1 - slope).clamp_(min=eps**2))
        below = (bound + self.correlation).div_((1 + slope).clamp_(min=eps**2))
        distance = torch.minimum(above, below).scatter_(1, self.atoms, torch.inf).scatter_(1, self.left, torch.inf)
        nearest = distance.min(1, keepdim=True)
        return nearest.values, nearest.indices

    def _exchange(self, gram: Tensor, slope: Tensor, entering: Tensor, leaving: Tensor, leaves: Tensor) -> None:
        """Adds or removes one atom of each signal that has not arrived, by a rank-one update of the inverse."""
        free, last = len(gram) - 1, self.atoms.shape[1] - 1
        slot = torch.where(leaves, leaving, self.used)
        column = gram[self.atoms, entering]
        unit = torch.zeros_like(column).scatter_(1, slot, 1)
        vector = _times(self.inverse, torch.where(leaves, unit, column))
        own = vector.gather(1, slot)
        pivot = gram.diagonal()[entering] - (column * vector).sum(1, keepdim=True)
        pivot = torch.where(leaves, -own, pivot.clamp_(min=torch.finfo(column.dtype).tiny))
        vector.scatter_(1, slot, torch.where(leaves, own, -1))
        scale = pivot.reciprocal_().masked_fill_(self.arrived, 0)
        change = vector * scale
        self.inverse.addcmul_(change[:, :, None], vector[:, None, :])
        sign = self.correlation.gather(1, entering).sign_()
        gain = torch.where(leaves, self.direction.gather(1, slot), slope.gather(1, entering) - sign)
        self.left = torch.where(leaves, self.atoms.gather(1, slot), free)
        slot = slot.masked_fill_(self.arrived, last)
        empty = leaves | self.arrived
        self.atoms.scatter_(1, slot, torch.where(empty, free, entering))
        self.signs.scatter_(1, slot, sign.masked_fill_(empty, 0))
        self.values.scatter_(1, slot, 0)
        self.direction = self.direction.addcmul(change, gain).mul_(self.signs.abs())
        self.used += ~empty

    def polished(self, correlation: Tensor, gram: Tensor, lam: Tensor) -> Tensor:
        """Returns codes ``(n, p)`` that solve ``Q_AA z = c_A - lambda s`` in float64, refined with the inverse."""
        own = gram[self.atoms[:, :, None], self.atoms[:, None, :]]
        target = correlation.gather(1, self.atoms) - lam[:, None] * self.signs
        values = self.values.double()
        for _ in range(3):
            rest = (target - _times(own, values)) * self.signs.abs()
            values = values + _times(self.inverse, rest.to(self.inverse.dtype))
        values = torch.where(values * self.signs > 0, values, 0)
        return torch.zeros_like(correlation).scatter_(1, self.atoms, values)[:, :-1]


def _follow_paths(problem: _Problem, dtype: torch.dtype) -> Tensor:
    """Returns codes ``(n, p)`` in float64 from paths followed in `dtype`; they are 0 where a path does not end."""
    correlation = F.pad(problem.features @ problem.dictionary, (0, 1))
    gram = F.pad(problem.gram, (0, 1, 0, 1))  # atom p of the empty slots
    rough = gram.to(dtype, copy=True)
    rough.diagonal()[:-1] += PATH_RIDGE[dtype] * rough.diagonal().max()
    codes = torch.zeros_like(correlation[:, :-1])
    paths = _Paths.start(correlation.to(dtype), problem.lam.to(dtype)[:, None], rough)
    paths = paths.only(~paths.arrived)
    for step in range(STEPS_PER_ATOM * len(gram)):
        if not len(paths.rows):
            break
        if step % SLOTS == 0 and int(paths.used.max()) + SLOTS >= paths.atoms.shape[1]:
            paths.add_slots(len(problem.gram))
        paths.step(rough)
        arrived, walking = int(paths.arrived.sum()), len(paths.rows)
        # Dropping the arrived signals copies the state of the others, so not at every step and not for a few.
        if arrived == walking or (arrived > 0.3 * walking and walking > SMALL_CHUNK):
            done = paths.only(paths.arrived)
            codes[done.rows] = done.polished(correlation[done.rows], gram, problem.lam[done.rows])
            paths = paths.only(~paths.arrived)
    return codes


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices * vectors[:, None, :]).sum(2)  # faster on a CPU than `bmm`, which calls BLAS for every matrix


def _combine(gram: Tensor, atoms: Tensor, weights: Tensor) -> Tensor:
    """Returns ``Q z`` of codes given by their active atoms and coefficients, ``(n, K)`` each."""
    return F.embedding_bag(atoms, gram, per_sample_weights=weights, mode="sum")
