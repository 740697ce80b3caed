"""The quick way of phone numbers and e-mail addresses gives the verdict of the slow one, whatever it is given."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_tasks.core.errors import Invalid
from crm_tasks.imports import numbers
from crm_tasks.providers.mail import compose
from crm_tasks.workspaces.phones import e164

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
MANY = settings(max_examples=3_000, deadline=None, database=None)


def slow(text: str, region: str) -> str | None:
    try:
        return e164(text, region)
    except Invalid:
        return None


def ours(text: str, region: str) -> str | None:
    try:
        return numbers.phone(text, region)
    except numbers.Bad:
        return None


@st.composite
def written(draw: st.DrawFn) -> str:
    """A number with a country's code and more or less of what people put between the digits."""
    digits = str(draw(st.sampled_from(CODES))) + draw(st.text("0123456789", min_size=1, max_size=15))
    between = draw(st.sampled_from(["", "", " ", "-", "."]))
    head = draw(st.sampled_from(["+", "+", "+", "00", "", "tel:+", "+ "]))
    tail = draw(st.sampled_from(["", "", "", " ", ")", "x12", "-"]))
    return head + between.join(digits) + tail


@MANY
@given(number=written(), region=st.sampled_from(REGIONS))
def test_every_number_gets_the_verdict_of_phonenumbers(number: str, region: str) -> None:
    if number.strip():
        assert ours(number.strip(), region) == slow(number.strip(), region)


@MANY
@given(code=st.sampled_from(CODES), rest=st.text("0123456789", min_size=4, max_size=12))
def test_what_goes_the_quick_way_stays_as_it_is(code: int, rest: str) -> None:
    number = f"+{code}{rest}"
    if numbers.quick(number):
        assert slow(number, "US") == slow(number, "BR") == number


@settings(max_examples=300, deadline=None, database=None)
@given(text=st.text("+0123456789 ()-.EeMx٣५", min_size=1, max_size=20))
def test_garbage_gets_the_verdict_of_phonenumbers(text: str) -> None:
    if (text := text.strip()) and not numbers._SCIENTIFIC.fullmatch(text):
        assert ours(text, "BR") == slow(text, "BR")


def test_most_clean_numbers_go_the_quick_way() -> None:
    for region in ("US", "BR", "DE", "IN", "GB", "ID", "MX", "NG"):
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        assert numbers.quick(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)), region


@pytest.mark.parametrize("text", ["9.19E+11", "5,51E+12", "1E+12", "9.19e+11"])
def test_what_a_spreadsheet_has_destroyed_is_refused_and_not_guessed(text: str) -> None:
    with pytest.raises(numbers.Bad) as caught:
        numbers.phone(text, "BR")
    assert caught.value.code == "destroyed_by_spreadsheet"


def test_a_number_that_was_kept_from_being_a_formula_is_read() -> None:
    for text in ("'+14155550123", '="+14155550123"'):
        assert numbers.phone(text, "BR") == "+14155550123"


@pytest.mark.parametrize(
    ("number", "other"),
    [
        ("+5511987654321", "+551187654321"),
        ("+551187654321", "+5511987654321"),
        ("+5215512345678", "+525512345678"),
        ("+525512345678", "+5215512345678"),
        ("+5491112345678", "+541112345678"),
        ("+541112345678", "+5491112345678"),
        ("+551133334444", None),
        ("+14155550123", None),
    ],
)
def test_whatsapp_may_know_a_number_in_another_way(number: str, other: str | None) -> None:
    assert numbers.variant(number) == other


def plain(text: str) -> str | None:
    try:
        return compose.normal(text)
    except ValueError:
        return None


@settings(max_examples=1_500, deadline=None, database=None)
@given(
    local=st.text("aB9._+-", min_size=1, max_size=70),
    domain=st.sampled_from(["Example.com", "a.test", "x", "-a.com", "a..b.com", "münchen.de", "a_b.com", "localhost"]),
)
def test_every_address_gets_the_verdict_of_the_mailer(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    try:
        found = numbers.email(address)
    except numbers.Bad:
        found = None
    assert found == plain(address)
