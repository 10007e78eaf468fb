"""The soak's uploads: the same for the same seed, and of every kind."""

import random
from collections import Counter
from itertools import product

from soak.mix import LARGEST, PART_BYTES, Deck, Mix
from soak.oracle import number_in


def test_the_same_seed_gives_the_same_uploads() -> None:
    first, second, other = Mix(1), Mix(1), Mix(2)
    plans = [first.plan() for _ in range(200)]
    assert plans == [second.plan() for _ in range(200)]
    assert plans != [other.plan() for _ in range(200)]
    assert first.content(plans[0]) == second.content(plans[0])


def test_every_kind_of_upload_occurs() -> None:
    mix = Mix(3)
    plans = [mix.plan() for _ in range(3000)]
    assert {(plan.form, plan.ack) for plan in plans} == set(product((True, False), ("all", "quorum", "any")))
    assert {plan.size > PART_BYTES for plan in plans} == {True, False}
    assert max(plan.size for plan in plans) <= LARGEST
    for wish in ("idempotent", "leaves", "waits", "repeats", "deletes", "tries_again"):
        assert {bool(getattr(plan, wish)) for plan in plans} == {True, False}, wish


def test_large_files_come_as_often_as_they_are_requested() -> None:
    mix = Mix(4)
    mix.large_wanted = 2
    assert [mix.plan().large, mix.plan().large] == [True, True]
    assert mix.large_wanted == 0


def test_a_file_has_the_bytes_of_its_own_number_and_is_found_by_its_key() -> None:
    mix = Mix(5)
    plans = [mix.plan() for _ in range(100)]
    contents = [mix.content(plan) for plan in plans]
    assert [len(content) for content in contents] == [plan.size for plan in plans]
    assert len(set(contents)) == len(plans)
    assert [number_in(f"1795334400-k3v9q2-{plan.name}") for plan in plans] == [plan.number for plan in plans]
    assert number_in("of-somebody.bin") is None


def test_a_deck_gives_every_card_once_before_any_comes_again() -> None:
    deck = Deck(random.Random(6), "abcd")  # noqa: S311 - as it is used
    assert Counter(deck.draw() for _ in range(12)) == Counter("abcd" * 3)
    deck.put_back("z")
    assert "z" in [deck.draw() for _ in range(5)]
