"""What is done to a file: edits as data, as `bad_inputs.json` writes them.

One of: ``{"content": text}``, ``{"cut": bytes that stay}``, ``{"replace": [old, new]}``, ``{"sql": statement}``; or, in
JSON, ``{"set": [key, ...], "to": value}`` and ``{"drop": [key, ...]}``, with ``"in": name`` for the metadata of a
safetensors file. Digests are taken out first, as in files of a time before there were any, unless ``"sealed": true``.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

Edit = dict[str, Any]
_DIGESTS = ("sha256", "tensors", "tensor")
_DEEP = "DEEP"


def edit_file(path: Path, edit: Edit) -> None:
    """Changes a file."""
    if "sql" in edit:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(edit["sql"])
            if not edit.get("sealed"):
                connection.execute("UPDATE records SET digest = NULL")
        return
    content = path.read_bytes() if path.exists() else b""
    path.write_bytes(_edited(content, edit))


def _edited(content: bytes, edit: Edit) -> bytes:
    if "content" in edit:
        return str(edit["content"]).encode("latin-1")
    if "cut" in edit:
        return content[: edit["cut"]]
    if "replace" in edit:
        old, new = (text.encode() for text in edit["replace"])
        assert content.count(old) >= 1, old
        return content.replace(old, new)
    if "in" not in edit:
        return _changed(json.loads(content), edit)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    facts = header["__metadata__"]
    if not edit.get("sealed"):
        for name in _DIGESTS:
            facts.pop(name, None)
    if not edit["in"]:
        facts = header["__metadata__"] = json.loads(_changed(facts, edit))
    else:
        facts[edit["in"]] = _changed(json.loads(facts[edit["in"]]), edit).decode()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _changed(tree: Any, edit: Edit) -> bytes:
    """Returns the text of JSON with one value set or left out."""
    if isinstance(tree, dict) and not edit.get("sealed"):
        tree.pop("sha256", None)
    *parents, last = edit.get("set") or edit["drop"]
    node = tree
    for part in parents:
        node = node[part]
    if "drop" in edit:
        del node[last]
    else:
        node[last] = edit["to"]
    return json.dumps(tree).replace(f'"{_DEEP}"', "[" * 5000 + "]" * 5000).encode()
