"""What is done at test time beside choosing lambda: how it is typed, and what decides a key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.measurements.adaptations import (
    Adaptation,
    BatchStatistics,
    Denoise,
    Order,
    Reading,
    Tent,
    parse_adaptation,
    reading_of,
    typed_adaptation,
)
from robustcsc.measurements.facts import digest_of, replace
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.policies import Adapted, NoLambda, Policy, TrainingLambda
from robustcsc.measurements.records import Images, Measurement, Subject


@settings(max_examples=30)
@given(data=st.data())
def test_what_is_typed_is_read_back(data: st.DataObject, adaptations: st.SearchStrategy[Adaptation]) -> None:
    made = data.draw(adaptations)
    assert parse_adaptation(typed_adaptation(made)) == made


def test_none_is_the_model_as_it_is() -> None:
    assert parse_adaptation("none") is None


def test_defaults_of_tent_are_those_of_its_authors_for_cifar() -> None:
    assert parse_adaptation("tent") == Tent(batch=200, learning_rate=1e-3, steps=1, episodic=False)
    assert digest_of(parse_adaptation("tent:learning_rate=0.001")) == digest_of(parse_adaptation("tent"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bn:batch=0", r"batch=0 is too small: write at least 1, such as --test-time bn:batch=1\."),
        ("bn:prior=-1", "prior=-1 is too small: write at least 0"),
        ("bn:batch=many", "--test-time bn:batch=many: batch, prior, steps and seed are whole numbers"),
        ("bn:batch=4:batch=5", "--test-time bn:batch=4:batch=5 has batch twice: write it once"),
        ("tent:learning_rate=0", "learning rate of 0 adapts nothing"),
        ("denoise-tv:weight=1", "denoise-tv has no settings: write --test-time denoise-tv"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_adaptation(text)


@pytest.mark.parametrize(("text", "meant"), [("btn", "bn"), ("bn:batches=3", "batch"), ("denoise-tvl1", "denoise-tv")])
def test_a_misspelt_word_is_put_right(text: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
        parse_adaptation(text)


def test_denoising_reads_each_image_by_itself() -> None:
    assert reading_of(Denoise(method="tv")) is None
    assert reading_of(Tent(batch=7, order=Order.SHUFFLED, seed=3)) == Reading(7, Order.SHUFFLED, 3)


def test_everything_that_decides_the_counts_is_in_the_key() -> None:
    plain = Measurement(
        subject=Subject(run="r", model="m", weights="5d"),
        images=Images(dataset="d", split="test", fingerprint="feed", count=10),
        perturbation=Clean(),
        policy=NoLambda(),
    )
    made = [BatchStatistics(), BatchStatistics(batch=16), BatchStatistics(prior=1), BatchStatistics(order=Order.CLASS)]
    made += [BatchStatistics(order=Order.GIVEN), BatchStatistics(seed=1)]
    adapted = [Adapted(by=by, policy=chosen) for by in made for chosen in (NoLambda(), TrainingLambda())]
    policies: list[Policy] = [NoLambda(), *adapted]
    assert len({replace(plain, policy=policy).key for policy in policies}) == 13
