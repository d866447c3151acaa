from __future__ import annotations

from pathlib import Path

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.examples import FILE, Answer, Example, ExampleSheet, Version, read_examples
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, SeverityTable
from robustcsc.measurements.policies import NoLambda, Policy, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Subject
from robustcsc.measurements.threats import ThreatModel
from robustcsc.reports.cohorts.words import perturbation_words
from robustcsc.reports.page.examples import galleries, sheet_note

NOISE = Corruption(name="gaussian_noise", severity=3, table=SeverityTable(name="cifar10_c", digest="1a2b3c4d"), seed=7)
TRAINED = TrainingLambda()
PGD = Attack(steps=(AttackStep.of("pgd", steps=20),), threat=ThreatModel("linf", 8 / 255), protocol=Protocol.PLAIN)


def sheet(*made: Perturbation, policy: Policy = TRAINED, run: str = "sdnet", says: str = "cat") -> ExampleSheet:
    answer = Answer(policy=policy, label=says, confidence=0.75, right=says == "cat")
    pngs = (f"{run} attacked".encode() if isinstance(it, Attack) else b"\x89PNG\x00\xff" for it in made)
    versions = tuple(Version(perturbation=it, png=png, answers=(answer,)) for it, png in zip(made, pngs, strict=True))
    return ExampleSheet(
        subject=Subject(run=run, model="sdnet18", weights="5d" * 32),
        images=Images(dataset="cifar10", split="test", fingerprint="0123", count=10000),
        examples=(Example(position=7, label="cat", versions=versions),),
    )


def test_versions_are_named_by_what_was_done_to_them() -> None:
    words = [perturbation_words(made) for made in (Clean(), NOISE, PGD)]
    assert words == ["clean", "gaussian noise, severity 3", "PGD L∞ 8/255, 20 steps"]


def test_a_note_says_how_the_images_were_made() -> None:
    note = sheet_note(sheet(Clean(), NOISE, PGD))
    assert note.startswith("1 evenly spaced images of cifar10 test, none chosen by hand; ")
    assert "corrupted with cifar10_c, seed 7" in note
    assert "at the training lambda" in note
    assert "lambda" not in sheet_note(sheet(Clean(), NOISE, PGD, policy=NoLambda()))


def test_models_answer_side_by_side_to_one_image_and_to_each_attack_apart() -> None:
    ours, theirs = sheet(Clean(), NOISE, PGD), sheet(Clean(), PGD, policy=NoLambda(), run="resnet", says="dog")
    (gallery,) = galleries([ours, theirs])
    (example,) = gallery.examples
    assert (example.position, example.label, len(gallery.notes)) == (7, "cat", 2)
    said = {
        made: [[(who, answer.label) for who, answer in picture.answers] for picture in pictures]
        for made, pictures in example.versions
    }
    both = [("sdnet, training lambda", "cat"), ("resnet", "dog")]
    assert said == {
        "clean": [both],
        "gaussian noise, severity 3": [both[:1]],
        "PGD L∞ 8/255, 20 steps": [both[:1], both[1:]],
    }


def test_examples_of_other_images_stand_apart() -> None:
    ours = sheet(Clean())
    other = replace(ours, images=replace(ours.images, fingerprint="4567"))
    assert [len(gallery.examples) for gallery in galleries([ours, other])] == [1, 1]


def test_examples_come_back_from_the_folder_of_their_run(tmp_path: Path) -> None:
    assert read_examples(tmp_path) is None
    written = sheet(Clean(), NOISE, PGD)
    sheet(Clean()).save(tmp_path)
    written.save(tmp_path)
    assert read_examples(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_damaged_examples_are_one_sentence(tmp_path: Path) -> None:
    whole = sheet(Clean())
    whole.save(tmp_path)
    half = (tmp_path / FILE).read_bytes()[:-20]
    for content in (b"not json", b"{}", half, b"\xff"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(StoreError, match=r"are damaged or of another version .*: delete the file"):
            read_examples(tmp_path)


def test_examples_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Examples cannot be written to"):
        sheet(Clean()).save(tmp_path / "missing")
