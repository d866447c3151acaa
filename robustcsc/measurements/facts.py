"""Facts: immutable values with types, which become JSON and come back equal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
JSON = msgspec.Raw
"""A part of a document that is not read yet."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True, gc=False):
    """Base of all facts: fields are named, cannot be changed, and are checked when a fact is read from a file.

    Fields at their defaults are left out of the JSON, so that a key stays what it is when a later version adds a field.
    Facts never refer to what refers to them, so the search for cycles, which takes longer than reading them, leaves
    them out.
    """


def tag_of(fact: Fact) -> str:
    """Returns what tells a fact from others of its union in JSON, such as ``"corruption"``; ``""`` if it is in none."""
    return str(fact.__struct_config__.tag or "")


def digest_of(value: object) -> str:
    """Returns the SHA-256 (hex) over the JSON of a fact, or of tuples and dictionaries of facts.

    Numbers enter at full precision, keys in alphabetical order.
    """
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def to_json(value: object) -> bytes:
    """Returns a fact as JSON."""
    return msgspec.json.encode(value)


def from_json(content: bytes | str, kind: type[T]) -> T:
    """Returns the fact of a type that `content` holds.

    Raises:
        ValueError: The JSON is damaged, or a field is missing or has a value of another type.
    """
    return msgspec.json.decode(content, type=kind)


def reader_of(kind: type[T]) -> Callable[[str | bytes], T]:
    """Returns what `from_json` does for many facts of a type in less time."""
    return msgspec.json.Decoder(kind).decode


def from_plain(value: object, kind: type[T]) -> T:
    """Returns the fact of a type that dictionaries, lists and numbers describe.

    Raises:
        ValueError: A field is missing or has a value of another type.
    """
    return msgspec.convert(value, kind)


def to_plain(fact: object) -> Any:
    """Returns a fact as dictionaries, lists, numbers and text."""
    return msgspec.to_builtins(fact)


def replace(fact: T, **changes: object) -> T:
    """Returns the fact with some fields changed.

    Raises:
        TypeError: It has no such field.
    """
    return msgspec.structs.replace(fact, **changes)  # type: ignore[type-var]


class Known(dict[bytes, T]):
    """The facts of a type by their JSON: equal texts are read once, and are one object."""

    def __init__(self, kind: Any) -> None:
        self._read: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode

    def __missing__(self, content: bytes) -> T:
        found = self[content] = self._read(content)
        return found


def opened(kind: type[Fact], **types: Any) -> Any:
    """Returns a type that is read as `kind` is, but for the named fields, which are `JSON` or again such a type."""
    fields = []
    for it in msgspec.structs.fields(kind):
        wanted = types.get(it.name, it.type)
        unread = wanted is JSON and not it.required
        fields.append((it.name, wanted, msgspec.field(default=JSON(to_json(it.default)) if unread else it.default)))
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, gc=False)


def as_float(fact: Fact, *fields: str) -> None:
    """Makes the named fields of a fact floats, or tuples of them, so that 1 and 1.0 have one key.

    To be called in ``__post_init__``.
    """
    for name in fields:
        value = getattr(fact, name)
        floats = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
        msgspec.structs.force_setattr(fact, name, floats)
