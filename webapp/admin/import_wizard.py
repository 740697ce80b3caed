"""The wizard of an import: a file is taken in, its columns are named while one sees what comes of it, then it begins.

Between the steps the file waits in the folder of imports, for a day at most; the signed address of the step says which.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer

from crm_tasks.contacts.models import AttributeType
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, NotFound
from crm_tasks.core.types import new_id
from crm_tasks.imports import intake, mapping, preview, service
from crm_tasks.imports.intake import Taken
from crm_tasks.imports.models import Duplicates, Import
from crm_tasks.imports.table import Layout, layout
from crm_tasks.providers.storage import Gone, Stored
from webapp import uploads
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import problems, typed, words

# Less than after which the folder is swept.
_WAITS = 12 * 3600
NO_ADDRESS = "Say which column has the phone numbers or the e-mail addresses: without one nobody could be reached."
# A column as the form names it: its place, for its name may be anything.
_COLUMN = "column."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that was taken in."""

    id: uuid.UUID
    taken: Taken
    filename: str | None


@blueprint.get("/imports/new")
def import_form() -> str:
    """Ask for a file."""
    return render_template("admin/import_new.html", problem="")


@blueprint.post("/imports/new")
def upload_import() -> ResponseReturnValue:
    """Take a file in; what nothing can be made of is refused at once."""
    try:
        file, filename = uploads.contacts_file()
        import_id = new_id()
        taken, _ = preview.take(file, import_id)
    except DomainError as error:
        is_missing = any(each.code == "required" for each in error.fields)
        text = "Choose a file first." if is_missing else error.message
        return render_template("admin/import_new.html", problem=text), 422
    kept = [*map(str, (import_id, here().workspace_id)), taken.stored.key, taken.stored.size, taken.stored.sha256]
    return redirect(
        url_for("admin.map_import", file=_signer().dumps([*kept, taken.encoding, taken.warnings, filename]))
    )


@blueprint.get("/imports/map")
def map_import() -> ResponseReturnValue:
    """Show the columns with what they seem to be, and what would come of the first rows."""
    waiting = _waiting()
    if _has_begun(waiting):
        return redirect(url_for("admin.one_import", import_id=waiting.id))
    found = _layout(waiting)
    return _page(waiting, found, _guess(found.header), {})


@blueprint.post("/imports/look")
def look_import() -> str:
    """Show what would come of the first rows; the page asks whenever a column is named otherwise."""
    waiting, given = _waiting(), typed()
    found = _layout(waiting)
    return render_template(
        "admin/_import_look.html", **_look(waiting, found, _targets(found, given), given.get("region"))
    )


@blueprint.post("/imports/map")
def start_import() -> ResponseReturnValue:
    """Begin the import, once however often it is asked for."""
    waiting, given = _waiting(), typed()
    if _has_begun(waiting):
        return redirect(url_for("admin.one_import", import_id=waiting.id))
    found = _layout(waiting)
    targets = _targets(found, given)
    new = service.NewImport(
        id=waiting.id,
        taken=waiting.taken,
        layout=found,
        filename=waiting.filename,
        mapping=dict(zip(found.header, targets, strict=True)),
        region=given.get("region") or None,
        tags=words(given.get("tags", "")),
        duplicates=_duplicates(given.get("duplicates", "")),
        actor=here().actor,
    )
    try:
        with db.transaction() as session:
            service.accept(session, here().workspace_id, new)
    except DomainError as error:
        # What is wrong with the columns the page finds by itself.
        wrong = [] if error.code in ("no_address_column", "bad_mapping") else problems(error)
        return _page(waiting, found, targets, given, wrong), 422
    return redirect(url_for("admin.one_import", import_id=waiting.id))


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="import")


def _waiting() -> Waiting:
    """Return the file that the address names.

    Raises:
        NotFound: none of this workspace, or one that waited too long.
    """
    try:
        kept = _signer().loads(request.args.get("file", ""), max_age=_WAITS)
    except BadSignature:
        raise NotFound("This file does not wait any more.", hint="Choose it again.") from None
    id, workspace_id, key, size, sha256, encoding, warnings, filename = kept
    if workspace_id != str(here().workspace_id):
        raise NotFound("This file was taken in by another workspace.", hint="Choose it again.")
    return Waiting(uuid.UUID(id), Taken(Stored(key, size, sha256), encoding, tuple(warnings)), filename)


def _has_begun(waiting: Waiting) -> bool:
    with db.transaction() as session:
        return session.get(Import, waiting.id) is not None


def _layout(waiting: Waiting) -> Layout:
    try:
        with intake.folder().open(waiting.taken.stored.key) as file:
            return layout(file)
    except Gone:
        raise NotFound("This file does not wait any more.", hint="Choose it again.") from None


def _guess(header: Sequence[str]) -> list[str]:
    """Return what each column seems to be: by its name, or as the attribute that is called like it."""
    with db.transaction() as session:
        known = {name.casefold(): name for name in service.types(session, here().workspace_id)}
    by_name = zip(header, mapping.guess(header), strict=True)
    return [
        target or (f"attribute:{known[name.casefold()]}" if name.casefold() in known else "")
        for name, target in by_name
    ]


def _targets(found: Layout, given: dict[str, str]) -> list[str]:
    return [given.get(f"{_COLUMN}{place}", "") for place in range(len(found.header))]


def _duplicates(name: str) -> Duplicates:
    return Duplicates(name) if name in set(Duplicates) else Duplicates.SKIP


def _look(waiting: Waiting, layout: Layout, targets: Sequence[str], region: str | None) -> dict[str, Any]:
    """Return what would come of the first rows, or what is wrong with the names of the columns."""
    workspace_id, header = here().workspace_id, layout.header
    try:
        found = mapping.targets(header, dict(zip(header, targets, strict=True)))
        with db.transaction() as session:
            known = service.types(session, workspace_id)
            country = service.region_of(session, workspace_id, region or None)
        seen = preview.look(waiting.taken.stored.key, layout, found, region=country, types=known)
    except DomainError as error:
        wrong = [NO_ADDRESS] if error.code == "no_address_column" else [each.message for each in problems(error)]
        return {"wrong": wrong, "seen": None}
    return {"wrong": [], "seen": seen, "region": country}


def _page(
    waiting: Waiting,
    layout: Layout,
    targets: Sequence[str],
    given: dict[str, str],
    wrong: list[FieldError] | None = None,
) -> str:
    with db.transaction() as session:
        known = service.types(session, here().workspace_id)
        region = service.region_of(session, here().workspace_id, None)
    samples = [
        [record[place] for record in layout.sample if place < len(record) and record[place].strip()][:3]
        for place in range(len(layout.header))
    ]
    return render_template(
        "admin/import_map.html",
        waiting=waiting,
        file=request.args["file"],
        columns=list(zip(layout.header, targets, samples, strict=True)),
        known=known,
        types=list(AttributeType),
        own_region=region,
        given=given,
        problems=wrong or [],
        **_look(waiting, layout, targets, given.get("region")),
    )
