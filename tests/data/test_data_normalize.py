"""What counts as the same text."""

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlptk.data.normalize import normalize, text_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("ﬁne", "FINE"),
        ("STRASSE", "straße"),
        ("e\u0301t\u00e9", "ÉTÉ"),
        ("a\u00a0b\n c", "A B C"),
        ("«oui»", "oui…"),
    ],
)
def test_case_form_punctuation_and_space_do_not_count(one: str, other: str) -> None:
    assert text_key([one]) == text_key([other])


@pytest.mark.parametrize(("one", "other"), [("good", "goods"), ("ab", "a b"), ("fine 🙂", "fine 🙁"), ("!", "?")])
def test_letters_spaces_between_them_and_emoji_count(one: str, other: str) -> None:
    assert text_key([one]) != text_key([other])


def test_where_one_text_of_a_pair_ends_counts() -> None:
    assert text_key(["a b", "c"]) != text_key(["a", "b c"])


@given(st.text(alphabet=string.printable + "\x1c\x1f"))
def test_ascii_takes_the_same_way_as_any_text(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c for c in folded if not unicodedata.category(c).startswith("P"))
    assert normalize(text) == (" ".join(kept.split()) or text)
