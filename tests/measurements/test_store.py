import hashlib
import inspect
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import from_json, replace
from robustcsc.measurements.perturbations import Corruption, SeverityTable
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Measurement, Record, Subject
from robustcsc.measurements.store import COLUMNS, SCHEMA_VERSION, ResultStore


def make(seed: int, files: int = 0, met: int = 5) -> Record:
    measurement = Measurement(
        subject=Subject(run="r", model="m", weights="w"),
        images=Images(dataset="d", split="test", fingerprint="i", count=10),
        perturbation=Corruption(
            name="fog", severity=1, table=SeverityTable(name="t", digest="1a"), files=str(files), seed=seed
        ),
        policy=TrainingLambda(),
    )
    provenance = Provenance(device="cpu", versions={"torch": "v"}, seconds=0.1, created="now")
    return Record(measurement=measurement, met=met, total=10, provenance=provenance)


def corruption(record: Record) -> Corruption:
    made = record.measurement.perturbation
    assert isinstance(made, Corruption)
    return made


def on_device(record: Record, device: str) -> Record:
    return replace(record, provenance=replace(record.provenance, device=device))


# What the child processes below begin with.
MAKE_RECORD = f"""
import sys
from pathlib import Path
from robustcsc.measurements.perturbations import Corruption, SeverityTable
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.records import Images, Measurement, Provenance, Record, Subject
from robustcsc.measurements.store import ResultStore

{inspect.getsource(make)}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "results.sqlite"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can enter (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_people_who_open_the_file_see_what_was_measured(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM records").fetchone())
    connection.close()
    content, digest = row.pop("record"), row.pop("digest")
    assert from_json(content, Record) == make(1)
    assert digest == hashlib.sha256(f"{make(1).measurement.key} {content}".encode()).hexdigest()
    told = {"run": "r", "model": "m", "dataset": "d", "kind": "corruption", "metric": "accuracy", "created": "now"}
    assert row == {"id": 1, "key": make(1).measurement.key, **told, "met": 5, "total": 10}
    assert [*row, "record", "digest"] == ["id", *COLUMNS]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_records_come_back_as_they_went_in_and_in_order(
    data: st.DataObject, records: st.SearchStrategy[Record]
) -> None:
    made = data.draw(st.lists(records, max_size=3, unique_by=lambda record: record.measurement.key))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        with ResultStore(path) as store:
            assert [store.add(record) for record in made] == [True] * len(made)
        with ResultStore(path, read_only=True) as store:
            assert store.records() == made
            assert [store.get(record.measurement) for record in made] == made


def test_a_measurement_is_stored_once_and_the_first_record_stays(path: Path) -> None:
    with ResultStore(path) as store:
        assert store.add(make(1, met=5))
        assert not store.add(make(1, met=7))
        assert [record.met for record in store.records()] == [5]


def test_replacing_a_record_keeps_its_place(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(2))
        store.add(make(1))
        assert store.add(make(2, met=9), remeasure=True)
        assert store.add(make(3), remeasure=True)
        assert [corruption(record).seed for record in store.records()] == [2, 1, 3]
        assert [record.met for record in store.records()] == [9, 5, 5]


def test_a_measurement_of_another_run_is_found(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
        elsewhere = replace(make(1).measurement.subject, run="elsewhere")
        found = store.get(replace(make(1).measurement, subject=elsewhere))
        assert found is not None
        assert found.measurement.subject.run == "r"
        assert store.get(make(2).measurement) is None


def test_an_added_record_is_seen_by_others_at_once(path: Path) -> None:
    with ResultStore(path) as writer, ResultStore(path, read_only=True) as reader:
        writer.add(make(1))
        assert len(reader.records()) == 1


def test_reading_makes_no_file(path: Path) -> None:
    with ResultStore(path, read_only=True) as store:
        assert store.records() == []
        assert store.get(make(1).measurement) is None
    assert not path.parent.exists()


def test_reading_changes_nothing(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    with ResultStore(path, read_only=True) as store:
        with pytest.raises(StoreError, match="opened for reading only"):
            store.add(make(2))
        assert len(store.records()) == 1
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [file.name for file in path.parent.iterdir()] == ["results.sqlite"]


def test_an_empty_file_reads_as_no_records_and_can_be_written(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with ResultStore(path, read_only=True) as store:
        assert store.records() == []
    assert path.stat().st_size == 0
    with ResultStore(path) as store:
        store.add(make(1))
        assert len(store.records()) == 1


def test_two_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    script = (
        MAKE_RECORD
        + """
with ResultStore(Path(sys.argv[1])) as store:
    for seed in range(12):
        store.add(make(seed, files=int(sys.argv[2])))
        store.add(make(seed, files=99))  # both processes measured these
"""
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), str(files)]) for files in (1, 2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with ResultStore(path) as store:
        found = {(corruption(record).files, corruption(record).seed) for record in store.records()}
        assert len(store.records()) == len(found)
    assert found == {(str(files), seed) for files in (1, 2, 99) for seed in range(12)}


def test_a_store_that_another_process_is_making_is_waited_for(path: Path, tmp_path: Path) -> None:
    ResultStore(tmp_path / "example.sqlite").close()
    example = sqlite3.connect(tmp_path / "example.sqlite")
    table = example.execute("SELECT sql FROM sqlite_master WHERE name = 'records'").fetchone()[0]
    example.close()
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute(table)
    other.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    script = MAKE_RECORD + "print('started', flush=True)\nResultStore(Path(sys.argv[1])).add(make(1))"
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.3)  # it has found an empty file by now, and waits
    assert writer.poll() is None
    other.execute("COMMIT")
    other.close()
    assert writer.wait(30) == 0
    writer.stdout.close()
    with ResultStore(path, read_only=True) as store:
        assert store.records() == [make(1)]


def test_a_killed_process_loses_nothing_it_had_added(path: Path) -> None:
    script = (
        MAKE_RECORD
        + """
with ResultStore(Path(sys.argv[1])) as store:
    for seed in range(1_000_000):
        store.add(make(seed))
        print(seed, flush=True)
"""
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    printed = 20 + len(writer.stdout.readlines())
    writer.stdout.close()
    with ResultStore(path, read_only=True) as store:
        stored = [corruption(record).seed for record in store.records()]
    assert stored == list(range(len(stored)))
    assert printed <= len(stored) <= printed + 1
    with ResultStore(path) as store:
        assert store.add(make(1_000_000))


def test_a_half_written_transaction_is_rolled_back_by_a_reader(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    script = (
        MAKE_RECORD
        + """
import os, sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE records SET created = hex(zeroblob(200000)), met = 0")
os._exit(9)
"""
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name("results.sqlite-journal").exists(), "the test left no hot journal"
    with ResultStore(path, read_only=True) as store:
        assert store.records() == [make(1)]


def test_a_store_of_a_newer_version_is_refused_and_kept(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="newer robustcsc"):
            ResultStore(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_something_else_is_refused(path: Path, version: int, read_only: bool) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StoreError, match="no result store"):
        ResultStore(path, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, read_only: bool) -> None:
    path.parent.mkdir()
    path.write_text("accuracy,0.9\n" * 200)
    with pytest.raises(StoreError, match="damaged or no result store"):
        ResultStore(path, read_only=read_only)
    assert path.read_text() == "accuracy,0.9\n" * 200


def test_a_damaged_store_is_a_sentence(path: Path) -> None:
    with ResultStore(path) as store:
        for seed in range(10):
            store.add(on_device(make(seed), "x" * 3000))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with ResultStore(path) as store, pytest.raises(StoreError, match="damaged"):
        store.records()


@pytest.mark.parametrize(
    ("old", "new"),
    [('"met":5', '"met":6'), ('"name":"fog"', '"name":"fig"'), ('"device":"cpu"', '"device":"gpu"'), ("5", "5 ")],
)
def test_a_record_that_was_changed_is_refused(path: Path, old: str, new: str) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute("UPDATE records SET record = replace(record, ?, ?)", (old, new)).rowcount == 1
    connection.close()
    with ResultStore(path) as store, pytest.raises(StoreError, match="holds a damaged record"):
        store.records()


def test_a_store_without_digests_is_read_and_gets_them_for_what_is_added(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("ALTER TABLE records DROP COLUMN digest")
    connection.close()
    with ResultStore(path, read_only=True) as store:
        assert store.records() == [make(1)]
    with ResultStore(path) as store:
        store.add(make(2))
        assert store.records() == [make(1), make(2)]
    connection = sqlite3.connect(path)
    digests = [digest is None for (digest,) in connection.execute("SELECT digest FROM records ORDER BY id")]
    connection.close()
    assert digests == [True, False]


def test_a_locked_store_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcsc.measurements.store.PATIENCE", 0.05)
    ResultStore(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ResultStore(path) as store:
        with pytest.raises(StoreError, match="being written by another process"):
            store.add(make(1))
        other.execute("ROLLBACK")
        assert store.add(make(1))
    other.close()


def test_a_full_disk_is_a_sentence_and_what_was_stored_is_kept(path: Path) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like to SQLite
        with pytest.raises(StoreError, match="full"):
            store.add(on_device(make(2), "x" * 100_000))
        assert store.records() == [make(1)]


def test_a_place_where_no_folder_can_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        ResultStore(tmp_path / "file" / "results.sqlite")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_in_the_place_of_the_file_is_a_sentence(path: Path, read_only: bool) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be opened"):
        ResultStore(path, read_only=read_only)


def test_a_folder_without_write_permission_can_be_read_but_not_written(public_folder: Path) -> None:
    path = public_folder / "results.sqlite"
    with ResultStore(path) as store:
        store.add(make(1))
    path.chmod(0o444)
    public_folder.chmod(0o555)
    script = (
        MAKE_RECORD
        + """
import os
from robustcsc.errors import StoreError
if os.geteuid() == 0:  # permissions do not bind root
    os.setgid(65534)
    os.setuid(65534)
with ResultStore(Path(sys.argv[1]), read_only=True) as store:
    assert store.records() == [make(1)]
try:
    ResultStore(Path(sys.argv[1]))
except StoreError as error:
    assert "cannot be written" in str(error), error
else:
    raise SystemExit("the store was opened for writing")
"""
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


@pytest.mark.parametrize(
    "record",
    [
        replace(make(1), lam=float("nan")),
        replace(make(1), met=2**63),
        replace(make(1), met=2**64),
        on_device(make(1), "\ud800"),
        replace(make(1), total=None),
        on_device(make(1), ["cpu"]),  # type: ignore[arg-type]
        replace(make(1), measurement=replace(make(1).measurement, policy=None)),
    ],
    ids=["nan", "huge", "larger", "surrogate", "missing", "list", "missing policy"],
)
def test_a_field_that_cannot_be_stored_is_a_sentence(path: Path, record: Record) -> None:
    with ResultStore(path) as store:
        with pytest.raises(StoreError):
            store.add(record)
        assert store.records() == []


def test_a_closed_store_is_a_sentence(path: Path) -> None:
    store = ResultStore(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.records()


def test_paths_with_special_characters_work(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20é" / "results.sqlite"
    with ResultStore(path) as store:
        store.add(make(1))
    assert path.exists()
    assert os.listdir(path.parent) == ["results.sqlite"]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", [1, SCHEMA_VERSION - 1])
def test_a_store_of_an_older_version_is_refused_and_kept(path: Path, version: int, read_only: bool) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, key TEXT, run TEXT, met INTEGER)")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"written by an older robustcsc .*: measure again in another run, or move"):
        ResultStore(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "{}", '{"measurement": 1}', make(1).provenance.device])
def test_a_damaged_record_is_a_sentence(path: Path, content: str) -> None:
    with ResultStore(path) as store:
        store.add(make(1))
        store._connection.execute("UPDATE records SET record = ?", [content])
        with pytest.raises(StoreError, match="holds a damaged record"):
            store.records()
        with pytest.raises(StoreError, match="holds a damaged record"):
            store.get(make(1).measurement)
