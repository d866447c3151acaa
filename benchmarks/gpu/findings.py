"""The file that a run on a GPU leaves: whole after every finding, so that an interruption keeps what there is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcsc.files import write_whole

Row = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """``gpu.json``: facts of the machine, and of each step its status, its time, and the rows that it found.

    A step is ``running``, ``done``, ``failed``, ``out of time`` or ``left out``; one that is still ``running`` when all
    has ended was interrupted. Only one process writes at a time: the steps one after the other, and between them the
    process that starts them.
    """

    path: Path

    def read(self) -> Row:
        """Returns all there is."""
        return json.loads(self.path.read_text()) if self.path.exists() else {"steps": {}}

    def about(self, **facts: object) -> None:
        """Keeps facts of the whole run."""
        self._write({**self.read(), **facts})

    def tell(self, step: str, **facts: object) -> None:
        """Keeps facts of a step; those of the same name are replaced."""
        found = self.read()
        found["steps"][step] = {"rows": [], **found["steps"].get(step, {}), **facts}
        self._write(found)

    def add(self, step: str, row: Row) -> None:
        """Keeps one more row of a step."""
        self.tell(step, rows=[*self.read()["steps"].get(step, {}).get("rows", []), row])

    def _write(self, found: Row) -> None:
        write_whole(self.path, (json.dumps(found, indent=1) + "\n").encode())
