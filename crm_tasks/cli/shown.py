"""How commands show things: tables for people, JSON for scripts."""

import getpass
import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

console = Console(highlight=False)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
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
