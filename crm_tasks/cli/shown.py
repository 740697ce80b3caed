"""How commands show things: tables for people, JSON for scripts."""

import getpass
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import click
from rich.console import Console, JustifyMethod
from rich.table import Table

console = Console(highlight=False)
if not console.is_terminal:
    console.width = max(console.width, 160)  # a file or a pipe has no edge at which ids and words would have to break
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class OneOf(click.Choice):
    """A member of an enumeration, written as its value and not, as click has it, as its name in the code."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """Return what stands for a member on the command line."""
        return str(choice.value) if isinstance(choice, Enum) else str(choice)


def print_json(value: Any) -> None:
    """Print a value for scripts."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "None.") -> None:
    """Print rows; columns that begin with > are numbers."""
    shown = list(rows)
    if not shown:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        # An id that is broken over lines cannot be copied.
        table.add_column(column.lstrip(">"), justify=justify, overflow="fold", no_wrap=column in ("id", "fingerprint"))
    for row in shown:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def moment(value: datetime | None) -> str:
    """Return a moment to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else ""


def length(seconds: float | None) -> str:
    """Return a length of time as people say it."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def actor() -> str:
    """Return who acts: the account at this terminal."""
    return f"cli:{getpass.getuser()}"


class UuidType(click.ParamType):
    """An id."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> uuid.UUID:
        """Return it, or say that it is none."""
        try:
            return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        except ValueError:
            self.fail(f"{value!r} is not an id", param, ctx)


ID = UuidType()
