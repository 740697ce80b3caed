"""Templates of e-mails: Jinja in a sandbox, and of Jinja only what cannot run for ever or fill the memory.

Ranges and sizes alone do not bound a template (`a ~ a` ten lines long is ten gigabytes), so the grammar does: values,
conditions, loops over what is given, and a short list of filters. What runs is counted and timed.
"""

import re
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import css_inline
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from crm_tasks.core.errors import FieldError

MAX_TEMPLATE, MAX_RENDERED, MAX_VARIABLES = 200 * 1024, 1024 * 1024, 64 * 1024
MAX_STEPS, MAX_SECONDS, MAX_RANGE, MAX_DEPTH = 20_000, 2.0, 1000, 50
_LARGEST = 1e15
# A parser of HTML repairs what is not closed: of `<b>` in every paragraph it makes the product of both, and what is
# nested tens of thousands deep ends its process.
MAX_TAGS, MAX_REPAIRED = 5000, 500_000
_OPENED = re.compile(r"<([a-zA-Z]+)")
_REPEATED = {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
_FILTERS = (
    "abs", "capitalize", "default", "d", "e", "escape", "first", "float", "int", "last", "length", "count", "lower",
    "round", "striptags", "title", "trim", "truncate", "upper", "urlencode", "wordcount",
)  # fmt: skip
_TESTS = (
    "defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping",
    "iterable", "sequence", "divisibleby", "even", "odd", "eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<",
    "le", "<=", "gt", "greaterthan", ">", "ge", ">=", "in", "lower", "upper",
)  # fmt: skip
_GRAMMAR = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.If,
    nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Filter, nodes.Test, nodes.Tuple,
    nodes.List, nodes.Keyword, nodes.Call,
)  # fmt: skip
_NAMES = {
    nodes.Assign: "set", nodes.AssignBlock: "set", nodes.Macro: "macro", nodes.CallBlock: "call", nodes.Block: "block",
    nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "import", nodes.Extends: "extends",
    nodes.FilterBlock: "filter", nodes.With: "with", nodes.Concat: "~", nodes.Pow: "**", nodes.Slice: "[a:b]",
}  # fmt: skip


class TemplateProblem(Exception):
    """A template cannot be read, or not with these variables. The text says in which line, and what to do."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(f"Line {line}: {message}" if line else message)


@dataclass(slots=True)
class _Budget:
    end: float
    steps: int = 0


_budget: ContextVar[_Budget] = ContextVar("budget")


class _Environment(ImmutableSandboxedEnvironment):
    """Counts every turn of every loop, and calculates with numbers of a decent size alone."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _check_grammar(tree)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
                raise SecurityError(f"`{operator}` works on numbers (up to {_LARGEST:.0e}); text stands side by side.")
        return super().call_binop(context, operator, left, right)


def _environment(*, autoescape: bool) -> _Environment:
    made = _Environment(autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters = {name: made.filters[name] for name in _FILTERS} | {"counted": _counted}
    made.tests = {name: made.tests[name] for name in _TESTS}
    made.globals = {"range": _range}
    return made


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise SecurityError(f"A range has at most {MAX_RANGE} numbers.")
    return found


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for item in items:
        budget.steps += 1
        if budget.steps > MAX_STEPS or time.monotonic() > budget.end:
            raise SecurityError(f"The loops take too long: at most {MAX_STEPS} turns in {MAX_SECONDS:g} seconds.")
        yield item


def _check_grammar(tree: nodes.Node) -> None:
    todo = [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        kind = type(node)
        name = _NAMES.get(kind)
        if name or kind not in _GRAMMAR:
            raise TemplateProblem(f"`{name or kind.__name__.lower()}` cannot be used in e-mails.", node.lineno)
        if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            raise TemplateProblem("Nothing but range() can be called.", node.lineno)
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateProblem("A loop cannot be recursive.", node.lineno)
        if depth > MAX_DEPTH:
            raise TemplateProblem("Too many things in each other.", node.lineno)
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]


_HTML, _PLAIN = _environment(autoescape=True), _environment(autoescape=False)


def html(source: str, variables: Mapping[str, Any]) -> str:
    """Return an HTML page; values are escaped, and its styles are written into its elements.

    Raises:
        TemplateProblem: names the line and the variable.
    """
    return inlined(_render(_HTML, source, variables))


def text(source: str, variables: Mapping[str, Any]) -> str:
    """Return a text.

    Raises:
        TemplateProblem: names the line and the variable.
    """
    return _render(_PLAIN, source, variables)


def problems(sources: Mapping[str, str]) -> list[FieldError]:
    """Return which of these templates cannot be read, by field."""
    found = []
    for name, source in sources.items():
        try:
            _compiled(_HTML if name == "html" else _PLAIN, source)
        except TemplateProblem as problem:
            found.append(FieldError(name, str(problem), "bad_template"))
    return found


def inlined(page: str) -> str:
    """Return a page with its styles in its elements, as mail programs take them. Nothing is fetched for it."""
    if "<style" not in page.lower():
        return page
    tags = [tag.lower() for tag in _OPENED.findall(page)]
    if len(tags) > MAX_TAGS or len(tags) * sum(tag in _REPEATED for tag in tags) > MAX_REPAIRED:
        raise TemplateProblem("The page has too many tags for its <style>: write the styles into the tags.")
    try:
        return css_inline.inline(page, load_remote_stylesheets=False, keep_style_tags=True, keep_at_rules=True)
    except css_inline.InlineError as error:
        raise TemplateProblem(f"The styles cannot be read: {str(error)[:200]}") from None


def _compiled(environment: _Environment, source: str) -> Any:
    if len(source.encode("utf-8", "replace")) > MAX_TEMPLATE:
        raise TemplateProblem(f"A template has at most {MAX_TEMPLATE // 1024} kB.")
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateProblem(str(error.message), error.lineno) from None
    except (TemplateError, RecursionError, SyntaxError, ValueError, OverflowError, MemoryError) as error:
        raise TemplateProblem(f"It cannot be read: {type(error).__name__}.") from None


def _render(environment: _Environment, source: str, variables: Mapping[str, Any]) -> str:
    template = _compiled(environment, source)
    token = _budget.set(_Budget(time.monotonic() + MAX_SECONDS))
    chunks, size = [], 0
    try:
        for chunk in template.generate(dict(variables)):
            size += len(chunk)
            if size > MAX_RENDERED:
                raise TemplateProblem(f"It becomes more than {MAX_RENDERED // 1024} kB.")
            chunks.append(chunk)
    except (UndefinedError, SecurityError) as error:
        raise TemplateProblem(f"{str(error).rstrip('.')}.", _line(error)) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise TemplateProblem(f"{type(error).__name__}: {str(error)[:200]}", _line(error)) from None
    finally:
        _budget.reset(token)
    return "".join(chunks)


def _line(error: BaseException) -> int | None:
    """Return the line of the template that raised; Jinja writes it into the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if re.fullmatch(r"<.*template>", frame.filename)), None)
