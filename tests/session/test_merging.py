"""Runs that become one: on records, weights, fits and perturbations that were written by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import robustcsc as rc
from robustcsc import runs
from robustcsc.errors import StoreError
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace, sealed
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.perturbations import Clean, Corruption, MinimalBudget, Perturbation, SeverityTable
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import BudgetDetails, Cost, Images, Location, Measurement, Outcomes, Record, Subject
from robustcsc.measurements.references import Channels, Reference
from robustcsc.measurements.store import SCHEMA_VERSION, ResultStore
from robustcsc.measurements.threats import ThreatModel
from robustcsc.runs import Run
from robustcsc.session import merging

Contents = Callable[[], dict[str, bytes]]
TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
FOG, SNOW = (Corruption(name=name, severity=3, table=TABLE) for name in ("fog", "snow"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def contents(place: Path) -> Contents:
    return lambda: {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def record(run: str, made: Perturbation, right: str = "1101", *, seconds: float = 1.0) -> Record:
    outcomes = [it == "1" for it in right]
    return Record(
        measurement=Measurement(
            subject=Subject(run=run, model="sdnet", weights="5d" * 32),
            images=Images(dataset="photos", split="test", fingerprint="feed", count=len(right)),
            perturbation=made,
            policy=TrainingLambda(),
        ),
        met=sum(outcomes),
        total=len(right),
        lam=0.1,
        outcomes=Outcomes.of(outcomes),
        provenance=Provenance(device=f"cpu of {run}", versions={}, seconds=seconds),
    )


def made(name: str, *records: Record, weights: str = "5d" * 32) -> Run:
    """Returns a run with records and with weights that say of themselves what they are."""
    run = runs.create(name, exist_ok=True)
    save_file({"w": np.zeros(1)}, run.weights_path, sealed({"weights": weights}))
    with ResultStore(run.store_path) as store:
        for each in records:
            store.add(each)
    return run


def stored(name: str) -> list[Record]:
    with ResultStore(runs.find(name).store_path, read_only=True) as store:
        return store.records()


def fit(noise: str, slope: float) -> LambdaFit:
    line = Line(slope=slope, intercept=0.3, r2=1.0)
    return LambdaFit(
        model="sdnet",
        weights="5d" * 32,
        dataset="photos",
        noise=noise,
        seed=0,
        heldout="feed",
        trained_on_heldout=False,
        lam0=0.1,
        grid=(0.1, 0.5),
        levels=(),
        lines={"squared": line},
        dataset_definition="squared",
        image_definition="squared",
        image_line=line,
        image_candidates={},
        created=f"2026-01-01T00:00:0{noise == 'shot':d}+00:00",
    )


def test_records_of_all_are_there_once_under_the_name_of_the_run_and_the_first_stays() -> None:
    first = made("a", record("a", Clean()), record("a", FOG))
    second = made("b", record("b", Clean(), seconds=9.0), record("b", SNOW))
    merged = rc.merge([first, second], into="all")
    assert (merged.run.name, merged.records, merged.added, merged.repeated) == ("all", 3, 3, 1)
    found = stored("all")
    assert [it.measurement.perturbation for it in found] == [Clean(), FOG, SNOW]
    assert [it.provenance.device for it in found] == ["cpu of a", "cpu of a", "cpu of b"]
    assert {it.measurement.subject.run for it in found} == {"all"}
    assert [it.measurement.key for it in found] == [
        it.measurement.key for it in (record("x", Clean()), record("x", FOG), record("x", SNOW))
    ]
    assert merged.run.weights_path.read_bytes() == first.weights_path.read_bytes()
    assert len(merged.run.results_path.read_text().splitlines()) == 1 + 3


def test_merging_again_changes_nothing_and_a_run_may_be_merged_into_one_of_them(contents: Contents) -> None:
    made("a", record("a", Clean()), record("a", FOG))
    made("b", record("b", Clean()), record("b", SNOW))
    assert rc.merge(["a", "b"], into="a").added == 1
    before = contents()
    again = rc.merge(["a", "b"], into="a")
    assert (again.records, again.added, again.repeated) == (3, 0, 2)
    assert contents() == before
    assert [it.provenance.device for it in stored("a")] == ["cpu of a", "cpu of a", "cpu of b"]


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ("1001", r"3 of 4 in runs/a and 2 of 4 in runs/b\. Leave one"),
        ("1110", r"3 of 4 in runs/a and 3 of 4 in runs/b, but not the same ones\."),
    ],
)
def test_other_counts_or_outcomes_of_one_measurement_are_refused_and_nothing_is_written(
    right: str, words: str, contents: Contents
) -> None:
    made("a", record("a", Clean()), record("a", FOG))
    made("b", record("b", SNOW), record("b", FOG, right))
    before = contents()
    with pytest.raises(StoreError, match=words) as caught:
        rc.merge(["a", "b"], into="all")
    key = record("a", FOG).measurement.key
    assert f"on fog, severity 3 under the training lambda (key {key})" in str(caught.value)
    assert contents() == before and not Path("runs/all").exists()
    with pytest.raises(StoreError, match="contradict"):
        rc.merge(["b"], into="a")
    assert contents() == before


def test_other_smallest_budgets_are_a_contradiction_though_as_many_images_resist(contents: Contents) -> None:
    step, threat = AttackStep.of("pgd"), ThreatModel("linf", 0.1)
    search = MinimalBudget(step=step, threat=threat, protocol=Protocol.PLAIN)
    cost = Cost(attacked=4, forward_calls=40, gradient_calls=40)

    def searched(run: str, minimal: bytes, calls: int = 40) -> Record:
        details = BudgetDetails(levels=6, minimal=minimal, cost=replace(cost, forward_calls=calls))
        return replace(record(run, search, "1000"), details=details)

    made("a", searched("a", bytes([255, 0, 3, 9])))
    made("b", searched("b", bytes([255, 0, 3, 9]), 41))
    assert rc.merge(["a", "b"], into="all").records == 1  # what it cost is no count
    made("c", searched("c", bytes([255, 0, 3, 8])))
    with pytest.raises(StoreError, match="contradict each other on smallest budget of PGD"):
        rc.merge(["c"], into="all")


def test_other_weights_are_refused(contents: Contents) -> None:
    made("a", record("a", Clean()))
    made("b", record("b", FOG), weights="6e" * 32)
    before = contents()
    with pytest.raises(StoreError, match=r"runs/a and runs/b have different weights \(5d5d5d5d5d5d and 6e6e6e6e6e6e\)"):
        rc.merge(["a", "b"], into="all")
    assert contents() == before


def test_lambda_fits_come_along_and_different_ones_of_one_noise_are_refused(contents: Contents) -> None:
    first, second = made("a", record("a", Clean())), made("b", record("b", FOG))
    fit("gaussian", 0.1).save(first.fit_path("gaussian"))
    fit("gaussian", 0.1).save(second.fit_path("gaussian"))
    fit("shot", 0.2).save(second.fit_path("shot"))
    fit("shot", 0.2).save(second.fit_path("pooled", "bf16"))
    run = rc.merge(["a", "b"], into="all").run
    assert {name: LambdaFit.load(path) for name, path in run.fit_paths().items()} == {
        "gaussian": fit("gaussian", 0.1),
        "shot": fit("shot", 0.2),
    }
    assert list(run.fit_paths("bf16")) == ["pooled"]
    fit("gaussian", 0.3).save(second.fit_path("gaussian"))
    before = contents()
    with pytest.raises(StoreError, match="runs/all and runs/b have different lambda fits to gaussian noise"):
        rc.merge(["b"], into="all")
    assert contents() == before


def test_statistics_of_clean_images_come_along_and_different_ones_are_refused() -> None:
    first, second = made("a", record("a", Clean())), made("b", record("b", FOG))
    reference = Reference(
        weights="5d" * 32,
        precision="fp32",
        heldout="feed",
        trained_on_heldout=False,
        images=4,
        agreement=0.1,
        layers=(Channels(mean=(0.5,), variance=(1.0,)),),
        created="",
    )
    reference.save(second.folder)
    replace(reference, precision="bf16").save(second.folder)
    run = rc.merge(["a", "b"], into="all").run
    assert Reference.load(run.folder) == reference
    assert Reference.load(run.folder, "bf16") == replace(reference, precision="bf16")
    replace(reference, images=5).save(first.folder)
    with pytest.raises(StoreError, match="runs/a and runs/b have different statistics of clean images"):
        rc.merge(["a", "b"], into="other")


def test_universal_perturbations_come_along_with_their_pictures_and_different_ones_are_refused() -> None:
    def crafted(run: Run, name: str, tensor: str, seconds: int = 1) -> None:
        run.perturbations.mkdir(exist_ok=True)
        path = run.perturbations / f"{name}.safetensors"
        facts = {"tensor": tensor, "crafting": f'{{"seconds":{seconds}}}'}
        save_file({"perturbation": np.zeros(1)}, path, sealed(facts))
        path.with_suffix(".png").write_bytes(tensor.encode())

    first, second = made("a", record("a", Clean())), made("b", record("b", FOG))
    crafted(first, "uap-linf-1", "aa")
    crafted(second, "uap-linf-1", "aa", seconds=2)
    crafted(second, "uap-linf-2", "bb")
    run = rc.merge(["a", "b"], into="all").run
    assert {path.name: path.read_bytes() for path in run.perturbations.glob("*")} == {
        path.name: path.read_bytes() for path in [*first.perturbations.glob("*"), *second.perturbations.glob("*-2.*")]
    }
    crafted(second, "uap-linf-1", "cc")
    with pytest.raises(StoreError, match="runs/a and runs/b have different perturbations uap-linf-1"):
        rc.merge(["a", "b"], into="other")


def test_where_images_lay_is_known_afterwards_and_what_the_run_knew_stays() -> None:
    first, second = made("a", record("a", Clean())), made("b", record("b", FOG))
    first.remember(Location(data="cifar10", root="/here"))
    second.remember(Location(data="cifar10", root="/there"))
    second.remember(Location(data="svhn", root="/there"))
    found = rc.merge(["a", "b"], into="all").run.places
    assert {name: it.root for name, it in found.items()} == {"cifar10": "/here", "svhn": "/there"}


def test_a_store_of_earlier_days_is_read_as_far_as_today_can(contents: Contents) -> None:
    without_digests, older = made("a", record("a", Clean())), made("b", record("b", FOG))
    for run, change in ((without_digests, "ALTER TABLE records DROP COLUMN digest"), (older, "")):
        connection = sqlite3.connect(run.store_path)
        connection.execute(change or f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
        connection.commit()
        connection.close()
    assert rc.merge(["a"], into="all").added == 1
    before = contents()
    with pytest.raises(StoreError, match=r"runs/b/results\.sqlite was written by an older robustcsc"):
        rc.merge(["a", "b"], into="new")
    assert contents() == before


def test_an_interrupted_merge_goes_on_when_it_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    made("a", record("a", Clean()))
    made("b", record("b", FOG), record("b", SNOW))
    add, count = ResultStore.add, 0

    def killed(store: ResultStore, each: Record, *, remeasure: bool = False) -> bool:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return add(store, each, remeasure=remeasure)

    monkeypatch.setattr(ResultStore, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        rc.merge(["a", "b"], into="a")
    assert len(stored("a")) == 1  # all or nothing
    count = 0
    with pytest.raises(KeyboardInterrupt):
        rc.merge(["a", "b"], into="all")
    assert not Path("runs/all").exists()
    monkeypatch.setattr(ResultStore, "add", add)
    assert rc.merge(["a", "b"], into="all").records == 3


def test_what_another_process_measures_meanwhile_is_not_lost_and_not_contradicted(
    monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    made("a", record("a", Clean()))
    made("b", record("b", FOG), record("b", SNOW))
    files = merging._new_files

    def meanwhile(*arguments: object) -> dict[Path, bytes]:
        made("a", record("a", SNOW, right, seconds=7.0))
        return files(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "_new_files", meanwhile)
    right = "1001"
    with pytest.raises(StoreError, match="contradict"):
        rc.merge(["b"], into="a")
    assert [it.measurement.perturbation for it in stored("a")] == [Clean(), SNOW]
    with ResultStore(runs.find("a").store_path) as store:
        store.add(record("a", SNOW, seconds=7.0), remeasure=True)
    right = "1101"
    assert rc.merge(["b"], into="a").records == 3
    assert [it.provenance.seconds for it in stored("a")] == [1.0, 7.0, 1.0]


@pytest.mark.parametrize(
    ("names", "into", "words"),
    [
        (["a"], "a", "There is nothing to merge into 'a': name other runs"),
        (["a", "empty"], "all", "runs/empty has no results to merge yet"),
        (["a", "nobody"], "all", "No run 'nobody' in runs"),
        (["a"], "a b", "'a b' cannot be the name of a run"),
    ],
)
def test_what_cannot_be_merged_is_refused(names: list[str], into: str, words: str, contents: Contents) -> None:
    made("a", record("a", Clean()))
    made("empty")
    before = contents()
    with pytest.raises(StoreError, match=words):
        rc.merge(names, into=into)
    assert contents() == before
