"""How texts are cut into parts: the published limits, and a splitter that tries every cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_tasks.core.errors import Invalid
from crm_tasks.providers.sms_parts import BASIC, EXTENSION, measure, split

# The table of TS 23.038, written down once more in its own order.
TABLE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


def test_the_alphabet_is_the_standards() -> None:
    assert len(TABLE) == 128
    assert frozenset(TABLE) - {"\x1b"} == BASIC
    assert frozenset("\f^{}\\[~]|€") == EXTENSION
    assert not BASIC & set("`ç“”–’\t")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ç" * 70, 1),
        ("ç" * 71, 2),
        ("ç" * 134, 2),
        ("ç" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("a" * 69 + "😀", 2),
        ("a" * 160 + "–", 3),
        ("`" + "a" * 69, 1),
    ],
)
def test_the_limits(text: str, parts: int) -> None:
    assert measure({"body": text}) == parts


def test_what_takes_two_places_is_not_cut_in_half() -> None:
    assert split("a" * 152 + "€" + "b" * 152) == ["a" * 152, "€" + "b" * 151, "b"]
    assert split("ç" * 66 + "😀" + "ç" * 66) == ["ç" * 66, "😀" + "ç" * 65, "ç"]


def test_more_than_ten_parts_are_refused_with_their_number() -> None:
    assert measure({"body": "a" * 1530}) == 10
    with pytest.raises(Invalid, match="11 SMS") as caught:
        measure({"body": "a" * 1531})
    (field,) = caught.value.fields
    assert (field.field, field.code) == ("text.body", "too_many_parts")
    with pytest.raises(Invalid, match="11 SMS"):
        measure({"body": "ж" * 671})


def places(text: str) -> int:
    """Return the places that a text takes in its encoding, counted in bytes of it."""
    if all(each in TABLE or each in EXTENSION for each in text):
        return len("".join("\x1b" + each if each in EXTENSION else each for each in text))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fewest(text: str, each: int, unicode: bool) -> int:
    """Return the fewest parts that any choice of cuts gives, none of them inside a character."""
    width = [(1 + (one > "\uffff")) if unicode else 1 + (one in EXTENSION) for one in text]
    best = [0] + [len(text) + 1] * len(text)
    for end in range(1, len(text) + 1):
        used, begin = 0, end
        while begin and used + width[begin - 1] <= each:
            begin -= 1
            used += width[begin]
            best[end] = min(best[end], best[begin] + 1)
    return best[-1]


letters = st.one_of(st.sampled_from("ab€{"), st.sampled_from("abc€^ç😀"))
texts = st.one_of(st.text(st.sampled_from("ab€{^\n"), max_size=700), st.text(letters, max_size=300), st.text())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=texts)
def test_no_other_way_to_cut_has_fewer_parts(text: str) -> None:
    unicode = not all(each in TABLE or each in EXTENSION for each in text)
    alone, each = (70, 67) if unicode else (160, 153)
    parts = split(text)
    assert "".join(parts) == text
    if places(text) <= alone:
        assert len(parts) == 1
    else:
        assert all(0 < sum(places_in(one, unicode) for one in part) <= each for part in parts)
        assert len(parts) == fewest(text, each, unicode)


def places_in(one: str, unicode: bool) -> int:
    return (2 if one > "\uffff" else 1) if unicode else (2 if one in EXTENSION else 1)
