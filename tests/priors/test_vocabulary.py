"""The words of the embedded prior: any text in, word numbers out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussmith.priors.embedded.vocabulary import CAPTION_WORDS, MAX_TEXT, Vocabulary, collect, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A blue House, with a RED roof!", "blue house with red roof"),
        ("two automobiles", "two car"),
        ("cherries, tomatoes & knives", "cherry tomato knife"),
        ("glass boxes and dresses", "glass box and dress"),
        ("houses vases buses axes", "house vase bus axe"),
        ("grass cactus chess octopus", "grass cactus chess octopus"),
        ("gray golden couch", "grey gold sofa"),
        ("café crème brûlée", "cafe creme brulee"),
        ("chair_02-a.obj", "chair obj"),
        ("the an a", ""),
        ("", ""),
        ("\x00\ud800 猫 🐈 \u202ecat", "cat"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


@given(st.text())
def test_words_of_any_text_are_normal(text: str) -> None:
    found = words(text)
    assert all(word and word.isascii() and word.isalpha() and word == word.lower() for word in found)
    assert words(" ".join(found)) == found


@given(st.from_regex(r"[a-z]{1,4}(s|ss|es|ies|xes|ches|oes|sses|ses|us|is){1,3}", fullmatch=True))
def test_normal_words_stay(word: str) -> None:
    assert words(" ".join(words(word))) == words(word)


def test_endless_text_is_cut() -> None:
    assert len(" ".join(words("word " * 10**6))) <= MAX_TEXT


def test_the_vocabulary_counts_and_sorts() -> None:
    texts = ["a red car", "two red cars", "a blue boat"]
    assert collect(texts).words == ("car", "red")
    assert collect(reversed(texts), least=1).words == ("blue", "boat", "car", "red", "two")
    assert len(collect([])) == 0


def test_numbers_of_known_words() -> None:
    known = Vocabulary(("car", "red"))
    assert known.numbers(["two red Cars", ""]).tolist() == [[2, 1] + [0] * (CAPTION_WORDS - 2), [0] * CAPTION_WORDS]
    assert known.numbers(["red " * 50]).tolist() == [[2] * CAPTION_WORDS]
    assert known.unknown("two red cars, two boats") == ["two", "boat"]
    assert Vocabulary(()).numbers(["red"]).tolist() == [[0] * CAPTION_WORDS]


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_captions_have_numbers(captions: list[str]) -> None:
    known = collect(captions, least=1)
    numbers = known.numbers(captions)
    assert numbers.shape == (len(captions), CAPTION_WORDS)
    for caption, row in zip(captions, numbers.tolist()):
        assert [known.words[n - 1] for n in row if n] == words(caption)[:CAPTION_WORDS]
        assert known.unknown(caption) == []
