"""Imports as JSON."""

from typing import Any

import marshmallow as ma
import orjson

from crm_tasks.imports import mapping, service
from crm_tasks.imports.models import Duplicates, Import


class ByColumn(ma.fields.Field[dict[str, str]]):
    """A JSON object in a field of a form: what each column is."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> dict[str, str]:
        try:
            found = orjson.loads(value)
        except (orjson.JSONDecodeError, TypeError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            raise ma.ValidationError('Write a JSON object: column → target, such as {"Tel.": "phone"}.')
        if len(found) > 1_000:
            raise ma.ValidationError("Name at most 1,000 columns.")
        return found


class Words(ma.fields.Field[list[str]]):
    """Tags in a field of a form: a JSON list, or words with commas between."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> list[str]:
        text = str(value).strip()
        if not text.startswith("["):
            return text.split(",")
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ma.ValidationError('Write tags as vip,lead or as ["vip", "lead"].')
        return found


class ImportFormIn(ma.Schema):
    """What comes with a file."""

    mapping = ByColumn(
        load_default=None,
        metadata={
            "type": "string",
            "description": "JSON object: column → target. Targets: "
            + ", ".join(mapping.TARGETS)
            + ", attribute:NAME, attribute:NAME:TYPE, ignore. Without it, columns are known by their names.",
        },
    )
    region = ma.fields.String(
        load_default=None, metadata={"description": "Country of numbers without one, such as BR; the workspace's"}
    )
    tags = Words(load_default=list, metadata={"type": "string", "description": "For all of them: vip,lead"})
    duplicates = ma.fields.Enum(
        Duplicates,
        by_value=True,
        load_default=Duplicates.SKIP,
        metadata={"description": "What a row does to a contact that is there: skip, update or merge"},
    )


class TotalsOut(ma.Schema):
    """Each row is in exactly one of the four; `rows` is their sum."""

    rows = ma.fields.Integer()
    created = ma.fields.Integer()
    updated = ma.fields.Integer()
    skipped = ma.fields.Integer()
    rejected = ma.fields.Integer()


class ProgressOut(ma.Schema):
    """How far it is."""

    percent = ma.fields.Float()
    rows_per_second = ma.fields.Float(allow_none=True)


class ImportReasonOut(ma.Schema):
    """Why it failed or was stopped."""

    code = ma.fields.String(allow_none=True)
    message = ma.fields.String()


class UndoneOut(ma.Schema):
    """What an undo came to. Kept is who has talked since, and whoever was changed since."""

    removed = ma.fields.Integer()
    restored = ma.fields.Integer()
    kept = ma.fields.Integer()


class ImportOut(ma.Schema):
    """An import."""

    id = ma.fields.UUID()
    state = ma.fields.String()
    error = ma.fields.Nested(ImportReasonOut, allow_none=True)
    filename = ma.fields.String(allow_none=True)
    encoding = ma.fields.String()
    delimiter = ma.fields.String()
    warnings = ma.fields.List(ma.fields.String())
    mapping = ma.fields.Dict(metadata={"description": "What each column is"})
    region = ma.fields.String()
    tags = ma.fields.List(ma.fields.String())
    duplicates = ma.fields.String()
    totals = ma.fields.Nested(TotalsOut)
    progress = ma.fields.Nested(ProgressOut)
    undone = ma.fields.Nested(UndoneOut, allow_none=True)
    undo_until = ma.fields.AwareDateTime()
    job_id = ma.fields.UUID(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    started_at = ma.fields.AwareDateTime(allow_none=True)
    finished_at = ma.fields.AwareDateTime(allow_none=True)


class PreviewOut(ma.Schema):
    """How a file would be read: its first rows, and what its columns seem to be."""

    encoding = ma.fields.String()
    delimiter = ma.fields.String()
    warnings = ma.fields.List(ma.fields.String())
    columns = ma.fields.List(ma.fields.String())
    mapping = ma.fields.Dict(metadata={"description": "What each column seems to be; `ignore` is nothing known"})
    rows = ma.fields.List(ma.fields.List(ma.fields.String()))


_OUT = ImportOut(exclude=("error", "mapping", "totals", "progress", "undone", "undo_until"))


def dump_import(found: Import, totals: dict[str, int], seconds: float | None) -> dict[str, Any]:
    """Return an import as JSON.

    Args:
        seconds: for how long it has been at work.
    """
    error = {"code": found.reason_code, "message": found.reason} if found.reason else None
    share = found.position / found.size if found.size else 1.0
    return {
        **_OUT.dump(found),
        "error": error,
        "mapping": by_column(found.header, found.targets),
        "totals": totals,
        "progress": {
            "percent": round(100 * share, 1),
            "rows_per_second": round(totals["rows"] / seconds, 1) if seconds else None,
        },
        "undone": found.undone or None,
        "undo_until": service.undo_until(found).isoformat(),
    }


def by_column(header: list[str], targets: list[str]) -> dict[str, str]:
    """Return what each column is."""
    return {name: target or mapping.IGNORE for name, target in zip(header, targets, strict=True)}
