"""The results of a run in one SQLite file: one row per measurement, on disk once it is counted."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Self

from robustcsc.errors import StoreError
from robustcsc.measurements.checks import check_counts
from robustcsc.measurements.facts import JSON, Known, from_json, opened, reader_of, tag_of, to_json
from robustcsc.measurements.perturbations import Perturbation
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Location, Measurement, Record, Subject

#: Version of the table below, kept in ``PRAGMA user_version``; raise it with every change of the columns, and of a fact
#: that stored records would not have. A new field with a default needs no new version.
SCHEMA_VERSION = 5

#: The columns: the key that is looked up, some facts for people who open the file, and the record as JSON.
COLUMNS = {
    "key": "TEXT NOT NULL UNIQUE",
    "run": "TEXT NOT NULL",
    "model": "TEXT NOT NULL",
    "dataset": "TEXT NOT NULL",
    "kind": "TEXT NOT NULL",
    "metric": "TEXT NOT NULL",
    "met": "INTEGER NOT NULL",
    "total": "INTEGER NOT NULL",
    "created": "TEXT NOT NULL",
    "record": "TEXT NOT NULL",
    "digest": "TEXT",  # over key and record; none in stores of earlier versions
}

_DECLARED = ", ".join(f"{name} {declaration}" for name, declaration in COLUMNS.items())
_TABLE = f"TABLE records (id INTEGER PRIMARY KEY, {_DECLARED})"
_INSERT = (
    f"INSERT INTO records ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(f':{name}' for name in COLUMNS)}) ON CONFLICT (key) DO "
)
#: As many as the index of the keys knows: a damaged page may lose some without a trace.
_COUNT = "SELECT count(*) FROM records INDEXED BY sqlite_autoindex_records_1"
_REPLACE = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS)
#: Seconds to wait while another process writes.
PATIENCE = 30.0


class ResultStore:
    """The records of one run, unique by `Measurement.key`.

    Every `add` outside of a `transaction` is one of its own that has reached the disk when it returns. Several
    processes may write to one file at once: they wait for each other.

    The file has a rollback journal instead of a write-ahead log, because then a store at rest is one file that can be
    copied, and read from a folder that cannot be written to.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens the store at `path`.

        Args:
            path: The SQLite file. It and its folder are made if they do not exist.
            read_only: Makes and changes nothing; a file that does not exist reads as a store without records.

        Raises:
            StoreError: The file cannot be opened, is not a result store, or was written by a newer robustcsc.
        """
        self.path = path
        self.read_only = read_only
        with self._sentences():
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._check_writable()
            # "rw" never makes a file, falls back to reading where writing is not allowed and, unlike "ro",
            # can roll back what a killed writer left behind.
            address = f"{path.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}"
            if read_only and not path.exists():
                address = ":memory:"
            self._connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        try:
            with self._sentences():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def add(self, record: Record, *, remeasure: bool = False) -> bool:
        """Stores `record`; it is on disk when this returns, or when the transaction around it ends.

        Args:
            record: What was measured.
            remeasure: What happens if the measurement is stored already: by default the stored record stays, with
                ``True`` the new one takes its place (also in the order of `records`).

        Returns:
            Whether the record was written.

        Raises:
            StoreError: The store cannot be written, or a field cannot be stored.
        """
        if self.read_only:
            raise StoreError(f"{self.path} was opened for reading only: open it for writing to add records.")
        with self._sentences():
            row = row_of(record)
            cursor = self._connection.execute(_INSERT + (_REPLACE if remeasure else "NOTHING"), row)
            return cursor.rowcount > 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes all that the block adds one transaction: the disk has everything of it, or nothing."""
        with self._sentences(), self._connection:  # which commits, or rolls back
            self._connection.execute("BEGIN IMMEDIATE")
            yield

    def get(self, measurement: Measurement) -> Record | None:
        """Returns the record of `measurement` (in whatever run it was measured), or ``None`` if there is none.

        Raises:
            StoreError: The store cannot be read.
        """
        found = self._select("WHERE key = ?", measurement.key)
        return found[0] if found else None

    def records(self) -> list[Record]:
        """Returns all records in the order in which their measurements were first added.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._sentences():
            self._connection.execute("BEGIN")  # one state of the file for both
            try:
                found = self._select("ORDER BY id")
                (known,) = self._connection.execute(_COUNT).fetchone()
            finally:
                self._connection.execute("COMMIT")
            if len(found) != known:
                raise ValueError(f"{len(found)} are there, and {known} in its index")
        return found

    def close(self) -> None:
        """Closes the file; closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, which: str, *parameters: str) -> list[Record]:
        with self._sentences():
            rows = self._connection.execute(
                f"SELECT key, record, {self._digest_column} FROM records {which}", parameters
            )
            first = rows.fetchone()  # most that is asked for is not there yet, and reading takes preparations
            return [] if first is None else list(_read(chain([first], rows)))

    def _columns(self) -> set[str]:
        return {name for _, name, *_ in self._connection.execute("PRAGMA table_info(records)")}

    def _prepare(self) -> None:
        """Checks that the file is a store of this version, and makes the table of a new one."""
        run = self._connection.execute
        run("PRAGMA synchronous = EXTRA")
        run("BEGIN")  # one state of the file for all that is read
        new = self._is_new()
        self._digest_column = "digest" if new or not self.read_only or "digest" in self._columns() else "NULL"
        run("COMMIT")
        if new and self.read_only:
            run(f"CREATE TEMPORARY {_TABLE}")  # no records, and the file stays empty
        elif new or (not self.read_only and "digest" not in self._columns()):
            with self.transaction():
                if self._is_new():  # nobody was faster
                    run(f"CREATE {_TABLE}")
                    run(f"PRAGMA user_version = {SCHEMA_VERSION}")
                elif "digest" not in self._columns():
                    run(f"ALTER TABLE records ADD COLUMN digest {COLUMNS['digest']}")

    def _is_new(self) -> bool:
        """Returns whether the file is empty; refuses what is no store of this version."""
        connection = self._connection
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer robustcsc (store version {version}, this one knows "
                f"{SCHEMA_VERSION}): update robustcsc, or choose another run."
            )
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if (version == 0 and tables) or (version != 0 and "records" not in tables):
            raise StoreError(f"{self.path} is a database, but no result store: choose another run or file.")
        if 0 < version < SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by an older robustcsc (store version {version}, this one reads "
                f"{SCHEMA_VERSION}): measure again in another run, or move the file away."
            )
        return version == 0

    def _check_writable(self) -> None:
        """Refuses a store that SQLite would silently open for reading only, before anything is measured."""
        targets = [self.path, self.path.parent] if self.path.exists() else [self.path.parent]
        if not all(os.access(target, os.W_OK) for target in targets):
            raise StoreError(f"{self.path} cannot be written: choose a folder you may write to.")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turns the errors of SQLite and of the file system into `StoreError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(_sentence(error, self.path)) from error
        except OSError as error:
            raise StoreError(f"{self.path} cannot be opened: {error.strerror or error}.") from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise StoreError(f"A field of a record cannot be stored in {self.path}: {error}.") from error
        except ValueError as error:
            message = f"{self.path} holds a damaged record ({error}): restore a copy, or measure again."
            raise StoreError(message) from error


def row_of(record: Record) -> dict[str, object]:
    """Returns the columns of a record.

    Raises:
        StoreError: A field cannot be stored.
    """
    measurement, key, content = record.measurement, record.measurement.key, to_json(record)
    try:
        same = from_json(content, Record) == record
    except ValueError:
        same = False
    if not same:  # JSON has neither NaN nor infinity
        where = f"{tag_of(measurement.perturbation)} on {measurement.images.dataset}"
        raise StoreError(f"The record of {where} cannot be stored: a field is no finite number or of another type.")
    return {
        "key": key,
        "run": measurement.subject.run,
        "model": measurement.subject.model,
        "dataset": measurement.images.dataset,
        "kind": tag_of(measurement.perturbation),
        "metric": measurement.metric.value,
        "met": record.met,
        "total": record.total,
        "created": record.provenance.created,
        "record": content.decode(),
        "digest": _digest(key, content.decode()),
    }


def _digest(key: str, content: str) -> str:
    return hashlib.sha256(f"{key} {content}".encode()).hexdigest()


def _read(rows: Iterable[tuple[str, str, str | None]]) -> Iterator[Record]:
    """Yields the records of keys, JSON texts and digests; what many of them say alike is read once, and is there once.

    Raises:
        ValueError: One is not what was written, or contradicts itself.
    """
    subjects, images, locations = Known[Subject](Subject), Known[Images](Images), Known[Location](Location)
    perturbations, policies = Known[Perturbation](Perturbation), Known[Policy](Policy)
    devices, versions = Known[str](str), Known[dict[str, str]](dict[str, str])
    whats = opened(Measurement, subject=JSON, images=JSON, perturbation=JSON, policy=JSON)
    hows = opened(Provenance, device=JSON, versions=JSON)
    read = reader_of(opened(Record, measurement=whats, provenance=hows, location=JSON))
    for key, content, digest in rows:
        if digest is not None and digest != _digest(key, content):
            raise ValueError("it is not what its SHA-256 says")
        it = read(content)
        what, how = it.measurement, it.provenance
        record = Record(
            measurement=Measurement(
                subject=subjects[bytes(what.subject)],
                images=images[bytes(what.images)],
                perturbation=perturbations[bytes(what.perturbation)],
                policy=policies[bytes(what.policy)],
                metric=what.metric,
                batch_size=what.batch_size,
                precision=what.precision,
            ),
            met=it.met,
            total=it.total,
            provenance=Provenance(
                device=devices[bytes(how.device)],
                versions=versions[bytes(how.versions)],
                driver=how.driver,
                tf32=how.tf32,
                seconds=how.seconds,
                created=how.created,
                doubts=how.doubts,
            ),
            lam=it.lam,
            outcomes=it.outcomes,
            details=it.details,
            location=locations[bytes(it.location)],
        )
        check_counts(record)
        if digest is None and record.measurement.key != key:
            raise ValueError("it is not that of its key")
        yield record


def _sentence(error: sqlite3.Error, path: Path) -> str:
    """Returns one sentence on what is wrong with the store at `path` and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"{path} is damaged or no result store: move it away and measure again, or restore a copy."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is being written by another process: wait until that has finished, then try again."
    if name.startswith("SQLITE_FULL"):
        return f"The disk that holds {path} is full: free some space, then start again; stored results are kept."
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"{path} cannot be opened or written: check that it is a file in a folder you may write to."
    return f"{path} cannot be read or written ({error}): check the disk and the file."
