"""Facts: immutable values with types, which become JSON and come back equal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Self, TypeVar

import msgspec

from robustcsc.errors import RobustCSCError

T = TypeVar("T")
JSON = msgspec.Raw
"""A part of a document that is not read yet."""

#: A number of things.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: A number of things of which there is one.
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
#: A share of things.
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
#: A number that cannot be below zero.
Size = Annotated[float, msgspec.Meta(ge=0)]

_DIGEST = "sha256"
#: What reading a damaged or edited fact raises: facts check themselves, and JSON can be too deep.
_WRONG = (ValueError, RecursionError, RobustCSCError)


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True, gc=False):
    """Base of all facts: fields are named, cannot be changed, and are checked when a fact is read from a file.

    Fields at their defaults are left out of the JSON, so that a key stays what it is when a later version adds a field.
    Facts never refer to what refers to them, so the search for cycles, which takes longer than reading them, leaves
    them out. They go to other processes as JSON, as a default is left out if it is the very object that the class has:
    text that was pickled is equal to it only, and the key would be another one.
    """

    def __reduce__(self) -> tuple[Callable[[bytes, type[Self]], Self], tuple[bytes, type[Self]]]:
        return from_json, (to_json(self), type(self))


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
        ValueError: The JSON is damaged, a field is missing or has a value of another type or outside its range; the
            words, without an end, name the field.
    """
    return reader_of(kind)(content)


def reader_of(kind: type[T]) -> Callable[[str | bytes], T]:
    """Returns what `from_json` does for many facts of a type in less time."""
    decode: Callable[[str | bytes], T] = _decoder(kind).decode  # type: ignore[arg-type]

    def read(content: str | bytes) -> T:
        try:
            return decode(content)
        except _WRONG as error:
            raise _worded(error) from error

    return read


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def from_plain(value: object, kind: type[T]) -> T:
    """Returns the fact of a type that dictionaries, lists and numbers describe.

    Raises:
        ValueError: As for `from_json`.
    """
    try:
        return msgspec.convert(value, kind)
    except _WRONG as error:
        raise _worded(error) from error


def _worded(error: Exception) -> ValueError:
    """Returns what is wrong with a file, as part of a sentence that begins with the field."""
    if isinstance(error, RecursionError):
        return ValueError("it is nested too deeply")
    what, _, place = str(error).replace(" - at `$", "\0").partition("\0")
    field = re.sub(r"^\.|`$", "", place)
    what = what.rstrip(".").replace("`", "")
    what = what if what.startswith("JSON") else what[:1].lower() + what[1:]
    return ValueError(f"{field}: {what}" if field else what)


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields with one more, the SHA-256 over all of them, by which `unsealed` sees that one has changed.

    Examples:
        >>> unsealed(sealed({"epsilon": 0.5}))
        {'epsilon': 0.5}
    """
    return {**fields, _DIGEST: digest_of(fields)}


def unsealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields without their SHA-256; those of a time before there was one are returned as they are.

    Raises:
        ValueError: The fields are not what they were.
    """
    rest = {name: value for name, value in fields.items() if name != _DIGEST}
    if _DIGEST in fields and fields[_DIGEST] != digest_of(rest):
        raise ValueError("its content is not what its SHA-256 says, so it was damaged or edited")
    return rest


def to_sealed_json(fact: object) -> bytes:
    """Returns a fact as JSON for people, with its SHA-256."""
    return msgspec.json.format(to_json(sealed(to_plain(fact))), indent=2) + b"\n"


def from_sealed_json(content: bytes, kind: type[T]) -> T:
    """Returns the fact of a type that `to_sealed_json` wrote, or JSON of a time before there was a SHA-256.

    Raises:
        ValueError: As for `from_json`, or the content is not what it was.
    """
    return from_plain(unsealed(from_json(content, dict[str, Any])), kind)


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
        self._read: Callable[[bytes], T] = reader_of(kind)

    def __missing__(self, content: bytes) -> T:
        found = self[content] = self._read(content)
        return found


@cache  # a type takes as long to make as thousands of records to read
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

    One that is equal to its default becomes that very object, as no other is left out of the JSON. To be called in
    ``__post_init__``.
    """
    for name in fields:
        value = getattr(fact, name)
        floats = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
        default = _defaults(type(fact)).get(name)
        msgspec.structs.force_setattr(fact, name, default if floats == default else floats)


@cache
def _defaults(kind: type[Fact]) -> dict[str, object]:
    return {it.name: it.default for it in msgspec.structs.fields(kind)}
