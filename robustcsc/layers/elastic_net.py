"""Elastic-net codes of many signals over one dictionary, by following the paths of all signals in blocks of atoms.

Solves, for every signal x,

    argmin_z  1/2 ||x - D z||_2^2 + lambda_1 ||z||_1 + lambda_2 / 2 ||z||_2^2

(Mairal, Bach and Ponce, "Task-Driven Dictionary Learning", IEEE TPAMI 2012, eq. 3). With ``Q = D'D + lambda_2 I`` and
``c = D'x`` it is a lasso in Q and c, whose solution is piecewise linear in lambda_1 (Osborne, Presnell and Turlach, IMA
J. Numer. Anal. 2000): on the active set A with signs s it is ``z_A = Q_AA^-1 (c_A - lambda_1 s)``, until the
correlation of an inactive atom reaches lambda_1 (the atom enters) or a coefficient reaches zero (its atom leaves).

Each signal goes down its own path from ``lambda_1 = max |c|``, where the solution is zero, but not from event to event:
a round lowers lambda_1 until the next `BLOCK` atoms enter at once, and solves for z on the new set. Where that was too
far, some coefficients have the wrong sign or some correlations are above lambda_1; those atoms leave or enter in the
next round (as in the block pivoting of Kim and Park, "Fast active-set-type algorithms for l1-regularized linear
regression", AISTATS 2010). Signals of a batch share the operations and nothing else.

These rounds are in float32, only to find A and s. The coefficients are then computed in float64, and the duality gap
decides whether they are accepted. A signal that is not solved so, as where A nearly spans the space, follows its path
again in float64, event by event; if that fails too (equal atoms), FISTA takes over.

`benchmarks/elastic_net.py` compares the method with FISTA and with scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import fista

#: Largest duality gap of a solution, relative to ``1/2 ||x||^2``, the objective of the zero code.
GAP = 1e-12
#: Added to the diagonal of Q while active sets are searched, relative to its largest entry, so that the systems of
#: nearly dependent atoms can be solved. The final coefficients are computed without it.
RIDGE = {torch.float32: 1e-5, torch.float64: 1e-10}
#: Atoms of a signal that enter at once. Of up to p / 64 atoms, PyTorch finds the nearest without sorting all.
BLOCK = 6
#: Signals processed together: enough to share the cost of a call, few enough for their systems to fit a CPU's cache.
CPU_CHUNK, GPU_CHUNK = 512, 16384
#: Groups into which signals are split by the size of their active sets, and signals in each at least.
GROUPS, SMALLEST = 4, 32
#: Largest number of rounds: this, and as often as all atoms could enter in blocks. In practice there are 10 to 20.
ROUNDS, ROUNDS_PER_ATOM = 10, 4
#: Runs of FISTA, and steps in each, for the signals that the rounds did not solve.
RUNS, RUN_STEPS = 200, 100
#: By how many units of rounding a correlation may exceed the bound, as that of an atom that has just left does.
SLACK = 64


@torch.no_grad()
def elastic_net(features: Tensor, dictionary: Tensor, lam: Tensor, lam2: float = 0.0, gap: float = GAP) -> Tensor:
    """Returns the elastic-net code of every signal, with a relative duality gap of at most `gap` in float64.

    Args:
        features: The signals x, ``(N, m)``, float32 or float64; inner computations are in float64.
        dictionary: D, ``(m, p)``, one atom per column, none of them zero.
        lam: lambda_1 of each signal, ``(N,)``, positive.
        lam2: lambda_2, at least 0.
        gap: Relative to ``1/2 ||x||^2``, the objective of the zero code; at least `GAP`.

    Returns:
        ``(N, p)`` in the type of `features`; coefficients outside the active set are exactly 0.
    """
    if not len(features):
        return features.new_zeros(0, dictionary.shape[1])
    atoms = dictionary.double()
    gram = atoms.T @ atoms
    gram.diagonal().add_(lam2)
    gram = F.pad(gram, (0, 1, 0, 1))  # atom p of the empty slots
    codes = []
    size = CPU_CHUNK if features.device.type == "cpu" else GPU_CHUNK
    for part, weights in zip(torch.split(features.double(), size), torch.split(lam.double(), size), strict=True):
        correlation, energy = F.pad(part @ atoms, (0, 1)), part.square().sum(1, keepdim=True)
        codes.append(_solve(_Problem(correlation, energy, weights[:, None], gram, gap)).to(features.dtype))
    return torch.cat(codes)


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
    energy = residual.square().sum(1) + lam2 * codes.square().sum(1)
    return _gap(codes, correlation, correlation.abs().amax(1), energy, lam)


def _gap(codes: Tensor, correlation: Tensor, largest: Tensor, energy: Tensor, lam: Tensor) -> Tensor:
    """Returns the duality gaps of codes, given ``c - Q z`` and ``||[x; 0] - [D; sqrt(lam2) I] z||^2``.

    With the scale t of the dual point, ``E/2 + lam ||z||_1`` minus the dual objective is written so that it loses no
    digits near 0, where t is 1 and each ``c - Q z`` is lam times the sign of z.
    """
    scale = (lam / largest.clamp_min(torch.finfo(codes.dtype).tiny)).clamp_max(1)
    return (1 - scale).square() * energy / 2 + (lam[:, None] * codes.abs() - scale[:, None] * codes * correlation).sum(
        1
    )


@dataclass(frozen=True)
class _Problem:
    """Some signals and the problem they share, in float64.

    Attributes:
        correlation: ``c = D'x``, and 0 for atom p, ``(n, p + 1)``.
        energy: ``||x||^2``, ``(n, 1)``.
        lam: lambda_1, ``(n, 1)``.
        gram: Q, and 0 for atom p, ``(p + 1, p + 1)``.
        gap: The relative gap of a solution.
    """

    correlation: Tensor
    energy: Tensor
    lam: Tensor
    gram: Tensor
    gap: float

    def only(self, rows: Tensor) -> _Problem:
        """Returns the problem for some of the signals."""
        return replace(self, correlation=self.correlation[rows], energy=self.energy[rows], lam=self.lam[rows])

    def accepts(self, codes: Tensor) -> Tensor:
        """Returns which of the codes ``(n, p + 1)`` have the gap."""
        rest = self.correlation - codes @ self.gram
        energy = self.energy[:, 0] - (codes * (self.correlation + rest)).sum(1)
        return _gap(codes, rest, rest.abs().amax(1), energy, self.lam[:, 0]).abs() <= self.gap / 2 * self.energy[:, 0]


def _solve(problem: _Problem) -> Tensor:
    """Returns the codes ``(n, p)``."""
    codes = torch.zeros_like(problem.correlation)
    unsolved = torch.arange(len(codes), device=codes.device)
    along = partial(_along_paths, dtype=torch.float32, block=BLOCK)
    for way in (along, partial(_along_paths, dtype=torch.float64, block=1), _descend):
        codes[unsolved], solved = way(problem.only(unsolved))
        unsolved = unsolved[~solved]
        if not len(unsolved):
            break
    return codes[:, :-1]


def _along_paths(problem: _Problem, dtype: torch.dtype, block: int) -> tuple[Tensor, Tensor]:
    """Returns codes ``(n, p + 1)`` on active sets that are found in `dtype`, and which of them are solved."""
    gram = problem.gram.to(dtype, copy=True)
    gram.diagonal()[:-1] += RIDGE[dtype] * gram.diagonal().max()
    codes, solved = _exchange(problem, torch.zeros_like(problem.correlation), gram, block)
    if bool(solved.any()):
        solved &= problem.accepts(codes)
    rows = (~solved).nonzero()[:, 0]
    rows = rows[codes[rows].count_nonzero(1).argsort()]  # all systems of a group have the size of its largest
    for group in torch.split(rows, max(len(rows) // GROUPS, SMALLEST)) if len(rows) else ():
        codes[group], solved[group] = _exchange(problem.only(group), codes[group], problem.gram, BLOCK)
    return codes, solved


def _descend(problem: _Problem) -> tuple[Tensor, Tensor]:
    """Returns codes ``(n, p + 1)`` by FISTA, which starts anew every `RUN_STEPS`, and which of them are solved."""
    step_size = 1 / float(torch.linalg.eigvalsh(problem.gram)[-1])
    codes = torch.zeros_like(problem.correlation)
    solved = torch.zeros_like(codes[:, 0], dtype=torch.bool)
    for _ in range(RUNS):
        rows = (~solved).nonzero()[:, 0]
        if not len(rows):
            break
        rest = problem.only(rows)
        codes[rows] = found = fista(
            lambda z, c=rest.correlation: z @ problem.gram - c,  # type: ignore[misc]
            lambda v, t=step_size * rest.lam: soft_threshold(v, t),  # type: ignore[misc]
            codes[rows],
            step_size,
            RUN_STEPS,
        )
        solved[rows] = rest.accepts(found)
    return codes, solved


@dataclass
class _Signals:
    """The state of n signals on their paths.

    The active atoms of a signal are in K slots, in any order. Empty slots hold atom p, which is zero.

    Attributes:
        rows: Which signals these are, ``(n,)``.
        correlation: c, ``(n, p + 1)``.
        energy: ``||x||^2``, ``(n, 1)``.
        goal: The requested lambda, ``(n, 1)``.
        level: The lambda of the current coefficients, ``(n, 1)``.
        atoms: Atom in each slot, ``(n, K)``, int32.
        signs: Sign of its correlation, ``(n, K)``, 0 in an empty slot.
        values: Its coefficient, ``(n, K)``, 0 in an empty slot.
        direction: ``Q_AA^-1 s``: how the coefficients grow as lambda falls, ``(n, K)``, 0 in an empty slot.
        rest: ``c - Q z``, ``(n, p + 1)``.
    """

    rows: Tensor
    correlation: Tensor
    energy: Tensor
    goal: Tensor
    level: Tensor
    atoms: Tensor
    signs: Tensor
    values: Tensor
    direction: Tensor
    rest: Tensor

    @classmethod
    def start(cls, problem: _Problem, codes: Tensor, gram: Tensor) -> _Signals:
        """Returns signals at their goal, on the active sets of `codes`; or at ``max |c|``, where a code is 0."""
        correlation, energy, goal = (it.to(gram.dtype) for it in (problem.correlation, problem.energy, problem.lam))
        signs, atoms = _first_slots(codes.sign().to(gram.dtype), int(codes.count_nonzero(1).max()))
        atoms = atoms.int().masked_fill_(signs == 0, len(gram) - 1)
        level = torch.maximum(goal, correlation.abs().amax(1, keepdim=True).masked_fill_(signs.any(1, keepdim=True), 0))
        rows = torch.arange(len(goal), device=goal.device)
        return cls(rows, correlation, energy, goal, level, atoms, signs, signs, signs, correlation)

    def only(self, chosen: Tensor) -> _Signals:
        """Returns the chosen signals, a mask ``(n,)``."""
        rows = chosen.nonzero()[:, 0]
        return _Signals(*(getattr(self, field.name)[rows] for field in fields(self)))

    def solve(self, gram: Tensor) -> None:
        """Computes the coefficients on the active sets at the current level, and what follows from them."""
        size, width = self.atoms.shape[1], len(gram)
        entries = (self.atoms[:, :, None] * width + self.atoms[:, None, :]).flatten()
        systems = gram.flatten().index_select(0, entries).view(-1, size, size)
        systems.diagonal(dim1=1, dim2=2).add_(self.signs == 0)
        own = self.correlation.gather(1, self.atoms.long())
        right = torch.stack((own - self.level * self.signs, self.signs), 2)
        solved = torch.cholesky_solve(right, torch.linalg.cholesky_ex(systems).L)
        self.values, self.direction = solved.unbind(2)
        self.rest = self.correlation - _combine(gram, self.atoms, self.values)

    def gap(self) -> Tensor:
        """Returns the duality gaps of the current coefficients at the goal, ``(n,)``; NaN if a system was singular."""
        own, rest = (it.gather(1, self.atoms.long()) for it in (self.correlation, self.rest))
        energy = self.energy[:, 0] - (self.values * (own + rest)).sum(1)
        return _gap(self.values, rest, self.rest.abs().amax(1), energy, self.goal[:, 0])

    def exchange(self, most: int, gram: Tensor) -> Tensor:
        """Lowers the level until `most` atoms enter, at most to the goal; atoms whose coefficients change sign leave.

        Returns:
            Which signals have another level or another active set now, ``(n,)``.
        """
        slope = _combine(gram, self.atoms, self.direction)
        near, coming = self._entries(slope).topk(most, 1, largest=False)
        growth = self.direction * self.signs
        until_zero = (self.values * self.signs / -growth).clamp_(min=0).masked_fill_(growth >= 0, torch.inf)
        distance = torch.minimum(near[:, -1:], self.level - self.goal)
        if most == 1:  # event by event
            distance = torch.minimum(distance, until_zero.amin(1, keepdim=True))
        stays = (until_zero > distance) & (self.values * self.signs + distance * growth > 0)
        signs = (self.rest.gather(1, coming) - distance * slope.gather(1, coming)).sign_()
        signs = torch.cat((self.signs * stays, signs * (near <= distance)), 1)
        changed = (distance > 0)[:, 0] | (signs != F.pad(self.signs, (0, most))).any(1)
        self.level = torch.maximum(self.level - distance, self.goal)
        atoms = torch.cat((self.atoms, coming.int()), 1)
        self.signs, slots = _first_slots(signs, int(signs.count_nonzero(1).max()))
        self.atoms = atoms.gather(1, slots).masked_fill_(self.signs == 0, self.rest.shape[1] - 1)
        return changed

    def _entries(self, slope: Tensor) -> Tensor:
        """Returns how far lambda may fall until the correlation of each inactive atom reaches it, ``(n, p + 1)``."""
        eps = torch.finfo(self.rest.dtype).eps
        bound = self.level * (1 + SLACK * eps)
        # Where the denominator is not positive, the correlation moves away from the bound and never reaches it.
        above = (bound - self.rest).div_((1 - slope).clamp_(min=eps**2))
        below = (bound + self.rest).div_((1 + slope).clamp_(min=eps**2))
        return torch.minimum(above, below).clamp_(min=0).scatter_(1, self.atoms.long(), torch.inf)


def _exchange(problem: _Problem, codes: Tensor, gram: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Returns codes ``(n, p + 1)`` by rounds from the active sets of `codes`, and which of them have the gap.

    `gram` is Q in the type of the computation, perhaps with a ridge. A block of one atom follows every event.
    """
    signals = _Signals.start(problem, codes, gram)
    codes = torch.zeros_like(codes)
    solved = torch.zeros_like(codes[:, 0], dtype=torch.bool)
    atoms = len(gram) - 1
    for _ in range(ROUNDS + ROUNDS_PER_ATOM * atoms // block):
        signals.solve(gram)
        gap, where, values = signals.gap(), signals.atoms, signals.values
        done = gap.abs() <= problem.gap / 2 * signals.energy[:, 0]
        ended = done if bool(done.all()) else done | gap.isnan() | ~signals.exchange(min(block, atoms), gram)
        if bool(ended.any()):
            rows = signals.rows[ended]
            codes[rows] = codes[rows].scatter_(1, where[ended].long(), values[ended].to(codes.dtype))
            solved[rows] = done[ended]
            signals = signals.only(~ended)
        if not len(signals.rows):
            break
    return codes.nan_to_num_(), solved


def _first_slots(signs: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the signs that are not 0, first in each row and at least one a row, and where they are."""
    slots = signs.abs().topk(max(size, 1), 1, sorted=False).indices
    return signs.gather(1, slots), slots


def _combine(gram: Tensor, atoms: Tensor, weights: Tensor) -> Tensor:
    """Returns ``Q z`` of codes given by their active atoms and coefficients, ``(n, K)`` each."""
    return F.embedding_bag(atoms, gram, per_sample_weights=weights, mode="sum")
