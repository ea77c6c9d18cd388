"""The form of an intervention: scopes, frozen slots, and random streams of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.interventions import (
    CONDITIONS,
    Erase,
    LatentPool,
    Noise,
    Own,
    Replacement,
    Swap,
    Zeros,
    generator,
    parse_condition,
)
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Span

K = 8


@pytest.fixture
def scoped(fed: Any) -> Callable[..., list[float]]:
    """The first number of what is fed, with own latents 0, 1, 2 ... in a model of K slots."""

    def of(text: str, pool: LatentPool | None = None, blocks: int = 2) -> list[float]:
        lantern = SimpleNamespace(latent_size=K)
        return fed(parse_condition(text), lantern=lantern, pool=pool, blocks=blocks)[:, 0].tolist()

    return of


def test_a_scope_leaves_the_other_slots_and_blocks_alone(scoped: Any):
    own = [float(k) for k in range(K)]
    assert scoped("zeros:slots=3", blocks=1) == [0, 1, 2, 0, 4, 5, 6, 7]
    assert scoped("zeros:slots=!3", blocks=1) == [0, 0, 0, 3, 0, 0, 0, 0]
    assert scoped("zeros:slots=1+5-6", blocks=1) == [0, 0, 2, 3, 4, 0, 0, 7]
    assert scoped("zeros:blocks=1") == own + [0.0] * K
    assert scoped("zeros:blocks=!1,slots=7") == [0, 1, 2, 3, 4, 5, 6, 0, *own]
    for text, message in [
        ("zeros:slots=8", "no slot 8; the model has slots 0 to 7"),
        ("zeros:slots=!0-7", "leaves no slot to replace"),
    ]:
        with pytest.raises(LanternError, match=message):
            scoped(text)


def test_a_scope_says_whether_it_acts():
    assert [parse_condition("zeros:blocks=1").acts_on(n) for n in range(3)] == [False, False, True]
    assert [parse_condition("zeros:blocks=!0").acts_on(n) for n in range(3)] == [False, False, True]
    assert [parse_condition("zeros").acts_on(n) for n in range(3)] == [False, True, True]


def test_frozen_slots_get_what_they_were_without_the_intervention(
    pool: LatentPool, scoped: Any, samples: list[Sample]
):
    kept = pool.latents[samples[0].id][:, 0].tolist()
    found = scoped("zeros:slots=2,frozen=1", pool)
    assert found[:K] == [*kept[:2], 0.0, *kept[3:]]
    assert found[K:] == [0, 1, 0, 3, 4, 5, 6, 7]  # the second block was never seen: re-rolled
    assert parse_condition("zeros:slots=2,frozen=1").needs_pool


NO_OPS = {
    "zeros:frozen=1": "frozen=1 does nothing",
    "swap:slots=0-7,frozen=1": "frozen=1 does nothing",
    "mean:slots=7,frozen=1": "frozen=1 does nothing",  # no slot comes after it
    "oracle:slots=4-7,frozen=1": "frozen=1 does nothing",
    "noise:slots=2,blocks=1,frozen=1": "frozen=1 does nothing",  # the first block is as it was
    "erase:frozen=1,attribute=color": "frozen=1 does nothing",
    "erase:slots=3,rerolled=1,attribute=color": "rerolled=1 does nothing",
    "additive:blocks=1,rerolled=1": "rerolled=1 does nothing",
    "noise-norm:slots=0,rerolled=1": "rerolled=1 does nothing",
    "own:slots=3": "changes nothing",
    "own:slots=3,frozen=1": "changes nothing",
    "additive:sigma=0": "adds nothing",
    "shuffle:slots=3": "fewer than two slots",
    "shuffle:blocks=1": "only the latents of the first block are stored",
    "first-repeat:slots=0": "puts the first latent where it is",
    "zeros:slots=!8": "there is no slot 8",
}


@pytest.mark.parametrize("text", NO_OPS)
def test_a_setting_that_does_nothing_is_refused(text: str):
    with pytest.raises(LanternError, match=NO_OPS[text]):
        parse_condition(text).check(K)


@pytest.mark.parametrize("kind", [k for k in CONDITIONS.values() if issubclass(k, Replacement)])
def test_frozen_without_anything_out_of_scope_is_refused_for_every_replacement(kind: Any):
    settings = {"attribute": "color"} if issubclass(kind, Erase) else {}
    condition = kind(frozen=True, **settings)
    with pytest.raises(LanternError, match=r"does nothing|changes nothing"):
        condition.check(K)
    if kind is not Own:
        condition.at(slots="!6").check(K)


@given(st.sets(st.integers(0, 30), min_size=1), st.booleans())
def test_spans_hold_what_was_written(numbers: set[int], excluded: bool):
    span = Span.parse("!" * excluded + "+".join(map(str, numbers)))
    assert all((n in span) == ((n in numbers) != excluded) for n in range(40))
    assert all(n in Span.parse("") for n in range(3))


@given(st.integers(0, 1000), st.text(max_size=5), st.text(max_size=5))
def test_streams_differ_between_names_and_samples(seed: int, name: str, sample: str):
    first = generator(seed, name, sample).initial_seed()
    assert first == generator(seed, name, sample).initial_seed()
    assert first != generator(seed + 1, name, sample).initial_seed()
    assert first != generator(seed, name + "x", sample).initial_seed()
    assert first != generator(seed, name, sample + "x").initial_seed()


def test_a_scope_may_be_given_in_python():
    assert Zeros().at(slots="!3", blocks="0") == Zeros(slots="!3", blocks="0")
    assert Zeros().at(slots=3, blocks=[0, 2]).label == "zeros:slots=3,blocks=0+2"
    assert Swap(seed=2).at(slots={7, 0, 1, 2}).label == "swap:slots=0-2+7,seed=2"
    assert Noise(scale=2.0).at(frozen=True) == Noise(scale=2.0, frozen=True)


def test_what_a_scope_leaves_unsaid_stays_and_the_value_itself_never_changes():
    zeros = Zeros(slots="2", frozen=True)
    assert zeros.at(blocks=1) == Zeros(slots="2", blocks="1", frozen=True)
    assert zeros.at(slots="", frozen=False) == Zeros()
    assert zeros == Zeros(slots="2", frozen=True)


@given(st.sets(st.integers(0, 30), min_size=1))
def test_a_scope_of_numbers_holds_these_numbers_and_has_one_label(numbers: set[int]):
    condition = Zeros().at(slots=numbers)
    span = Span.parse(condition.slots)
    assert {n for n in range(40) if n in span} == numbers
    assert parse_condition(condition.label) == condition
    assert Zeros().at(slots=sorted(numbers, reverse=True)) == condition


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"slots": "x"}, "no slots 'x'; write 3"),
        ({"blocks": "5-2"}, "blocks '5-2': 5-2 runs backwards"),
        ({"slots": [-1]}, "no slots '-1'"),
        ({"slots": []}, "no slots were given; leave them out for all"),
        ({"blocks": range(0)}, "no blocks were given"),
    ],
)
def test_a_scope_that_is_none_is_refused_at_once(scope: dict[str, Any], message: str):
    with pytest.raises(LanternError, match=message):
        Zeros().at(**scope)
