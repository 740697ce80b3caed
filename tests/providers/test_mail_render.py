"""Templates: values in their places, and nothing that runs for ever, fills the memory or leaves the sandbox."""

from typing import Any

import pytest

from crm_tasks.providers.mail import render
from crm_tasks.providers.mail.render import TemplateProblem

VALUES: dict[str, Any] = {"name": "Ann <b>", "items": [{"n": "a", "price": 2.5}, {"n": "b", "price": 3}], "paid": False}


def test_values_loops_and_conditions_are_filled_in_and_escaped() -> None:
    source = (
        "<p>{{ name }}</p>{% for i in items %}{{ loop.index }}{{ i.n|upper }}{{ i.price * 2 }};"
        "{% endfor %}{{ 'x' if paid else 'y' }}"
    )
    assert render.html(source, VALUES) == "<p>Ann &lt;b&gt;</p>1A5.0;2B6;y"


def test_a_text_is_not_escaped() -> None:
    assert render.text("Hi {{ name }}", VALUES) == "Hi Ann <b>"


def test_styles_are_written_into_the_tags_and_nothing_is_fetched() -> None:
    page = '<link rel="stylesheet" href="http://127.0.0.1:9/x.css"><style>p {color: red}</style><p>Hi</p>'
    assert '<p style="color: red;">Hi</p>' in render.html(page, {})


WRONG = [
    ("a\n{{ nope }}", "Line 2: 'nope' is undefined."),
    ("{{ name }}\n\n{{ name.first }}", "Line 3: 'str object' has no attribute 'first'."),
    ("\n{% if %}", "Line 2: "),
    ("{{ 1 / 0 }}", "Line 1: ZeroDivisionError"),
]


@pytest.mark.parametrize(("source", "said"), WRONG)
def test_an_error_names_the_line_and_the_variable(source: str, said: str) -> None:
    with pytest.raises(TemplateProblem) as raised:
        render.html(source, VALUES)
    assert str(raised.value).startswith(said)


HOSTILE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ name.__class__ }}",
    "{{ name['__class__'] }}",
    "{{ range.__globals__ }}",
    "{{ name|attr('__class__') }}",
    "{{ name.format(1) }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ items.append(1) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ lipsum(1000000) }}",
    "{{ namespace() }}",
    "{% include 'etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'base.html' %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% set a = 'aaaaaaaaaa' %}{% set b = a~a~a %}",
    "{{ 'a' ~ 'b' }}",
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 1000000000 }}",
    "{{ [0] * 1000000000 }}",
    "{{ 9 ** 999999999 }}",
    "{{ 1000000000000000 * 1000000000000000 * 2 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ 'a'|center(1000000000) }}",
    "{{ 'a'|indent(1000000000) }}",
    "{{ name|safe }}",
    "{% for i in range(1001) %}{% endfor %}",
    "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
    "{% for i in items recursive %}{{ loop(items) }}{% endfor %}",
    "{% for i in range(1000) %}" + "x" * 2000 + "{% endfor %}",
    "x" * (200 * 1024 + 1),
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "not " * 200 + "1 }}",
    "{{ range(1, 2, 0) }}",
    "{{ range() }}",
]


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:40])
@pytest.mark.timeout(20)
def test_what_leaves_the_sandbox_or_its_bounds_is_refused(source: str) -> None:
    with pytest.raises(TemplateProblem):
        render.text(source, VALUES)


@pytest.mark.parametrize(
    "page", ["<div>" * 20_000, "<p>" + "".join(f"<b id={n}>" for n in range(2000)) + "<p>x" * 2000, "<x>" * 6000]
)
def test_a_page_that_a_parser_would_drown_in_is_refused(page: str) -> None:
    with pytest.raises(TemplateProblem):
        render.inlined("<style>p {color: red}</style>" + page)


def test_a_template_that_cannot_be_read_is_found_before_it_is_used() -> None:
    (found,) = render.problems({"subject": "Hi {{ name }}", "html": "a\n{% if x %}", "text": ""})
    assert (found.field, found.message[:6]) == ("html", "Line 2")
