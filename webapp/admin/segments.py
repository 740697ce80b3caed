"""Segments: built in a form that counts while one builds, shown with who is in them."""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from phonenumbers import SUPPORTED_REGIONS
from phonenumbers.geodata.locale import LOCALE_DATA
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.contacts import attributes, directory, search, segments
from crm_tasks.contacts.conditions import ATTRIBUTES, FIELDS, OPERATORS
from crm_tasks.contacts.models import IdentityKind, Segment
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, NotFound
from webapp.admin import blueprint, builder
from webapp.admin.access import here
from webapp.admin.builder import Builder
from webapp.admin.contacts import people
from webapp.admin.forms import problems, typed
from webapp.admin.lists import before
from webapp.admin.shown import zone

SHOWN, SAMPLE, MOST_CAMPAIGNS = 50, 5, 200
LONGEST_NAME = 200


def _country(code: str) -> str:
    """Return the name of a country; where two languages call it the same, the table only says which other one."""
    names = LOCALE_DATA.get(code, {})
    name = names.get("en", code)
    return str(names.get(name[1:], code) if name.startswith("*") else name)


COUNTRIES = sorted(((code, _country(code)) for code in SUPPORTED_REGIONS), key=lambda each: each[1])


@blueprint.get("/segments")
def segment_list() -> str:
    """List them, the newest first."""
    with db.transaction() as session:
        found = segments.listed(session, here().workspace_id, before=before(), limit=SHOWN + 1)
        choices = _choices(session)
    told = {each.id: _in_words(each, choices) for each in found[:SHOWN]}
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template("admin/segments.html", segments=found[:SHOWN], told=told, more=more)


@blueprint.get("/segments/new")
def segment_form() -> str:
    """Show the form of a new one."""
    return _page(Builder(), {})


@blueprint.post("/segments/new")
def create_segment() -> ResponseReturnValue:
    """Make one. A button of the form that adds or removes is no wish to keep it yet."""
    return _keep(None)


@blueprint.get("/segments/<uuid:segment_id>")
def segment(segment_id: uuid.UUID) -> str:
    """Show one: its conditions, how many are in it, and some of them."""
    with db.transaction() as session:
        found = segments.get(session, here().workspace_id, segment_id)
        return render_template(
            "admin/segment.html",
            segment=found,
            told=_in_words(found, _choices(session)),
            editable=builder.of_conditions(found.conditions, zone()) is not None,
        )


@blueprint.get("/segments/<uuid:segment_id>/part")
def segment_part(segment_id: uuid.UUID) -> str:
    """Show how many are in one, and some of them; the page asks for it once it is there."""
    with db.transaction() as session:
        found = segments.get(session, here().workspace_id, segment_id)
        return render_template("admin/_segment_count.html", **_count(session, found.conditions))


@blueprint.get("/segments/<uuid:segment_id>/edit")
def edit_segment(segment_id: uuid.UUID) -> ResponseReturnValue:
    """Show the form of one."""
    with db.transaction() as session:
        found = segments.get(session, here().workspace_id, segment_id)
    made = builder.of_conditions(found.conditions, zone())
    if made is None:  # the form cannot show it
        return redirect(url_for("admin.segment", segment_id=segment_id))
    return _page(made, {"name": found.name}, segment=found)


@blueprint.post("/segments/<uuid:segment_id>/edit")
def change_segment(segment_id: uuid.UUID) -> ResponseReturnValue:
    """Change one."""
    return _keep(segment_id)


@blueprint.post("/segments/<uuid:segment_id>/delete")
def delete_segment(segment_id: uuid.UUID) -> ResponseReturnValue:
    """Forget one; its contacts stay."""
    with db.transaction() as session:
        segments.delete(session, here().workspace_id, segment_id)
    return redirect(url_for("admin.segment_list"))


@blueprint.post("/segments/form")
def segment_builder() -> ResponseReturnValue:
    """Show the form after a button or another field was chosen, and have the count made anew."""
    given = typed()
    with db.transaction() as session:
        made = _read(session, given)
        if request.headers.get("HX-Trigger-Name", "").endswith(".op") and _is_in_shape(session, made):
            return "", 204  # nothing is to look otherwise, and who types already is not disturbed
        answer = make_response(render_template("admin/_builder.html", made=made, **_choices(session)))
    answer.headers["HX-Trigger-After-Settle"] = "recount"
    return answer


@blueprint.post("/segments/count")
def count_segment() -> str:
    """Count who meets the conditions of the form, and show some; the page asks while one types."""
    given = typed()
    with db.transaction() as session:
        types = attributes.types(session, here().workspace_id)
        conditions = builder.as_conditions(builder.read(given, types), types, zone())
        return render_template("admin/_segment_count.html", **_count(session, conditions))


def _in_words(segment: Segment, choices: Mapping[str, Any]) -> Markup:
    """Return the conditions of a segment as people say them; as JSON if a form cannot show them.

    They may name somebody, so they are for who may see single customers.
    """
    if not here().may("personal"):
        return Markup("–")
    made = builder.of_conditions(segment.conditions, zone())
    return Markup(render_template("admin/_segment_words.html", made=made, segment=segment, **choices))  # noqa: S704


def _read(session: Session, given: Mapping[str, str]) -> Builder:
    made = builder.read(given, attributes.types(session, here().workspace_id))
    builder.act(made, given.get("do", ""))
    return made


def _is_in_shape(session: Session, made: Builder) -> bool:
    types = attributes.types(session, here().workspace_id)
    return all(rule.shape == builder.shape_of(rule, types) for group in made.groups for rule in group.rules)


def _count(session: Session, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many meet conditions, and some of them for who may see customers."""
    workspace_id = here().workspace_id
    try:
        condition = segments.compile(session, workspace_id, conditions)
        number = segments.count(session, workspace_id, conditions)
    except DomainError as error:
        return {"number": None, "wrong": problems(error)}
    some = search.listed(session, workspace_id, conditions=[condition], limit=SAMPLE) if here().may("personal") else []
    named = directory.identities(session, [each.id for each in some])
    return {"number": number, "some": some, "named": named, "people": people(session, workspace_id)}


def _keep(segment_id: uuid.UUID | None) -> ResponseReturnValue:
    given, workspace_id = typed(), here().workspace_id
    with db.transaction() as session:
        made, types = _read(session, given), attributes.types(session, workspace_id)
        found = segments.get(session, workspace_id, segment_id) if segment_id else None
    if "do" in given:
        return _page(made, given, segment=found)
    name = given.get("name", "")
    if not 0 < len(name) <= LONGEST_NAME:
        wrong = FieldError("name", f"Give it a name of 1 to {LONGEST_NAME} characters.")
        return _page(made, given, [wrong], found), 422
    try:
        with db.transaction() as session:
            conditions = builder.as_conditions(made, types, zone())
            if segment_id:
                segments.change(session, workspace_id, segment_id, name=name, conditions=conditions)
            else:
                segment_id = segments.create(session, workspace_id, name=name, conditions=conditions).id
    except NotFound:
        raise
    except DomainError as error:
        return _page(made, given, builder.place(made, problems(error)), found), 422
    return redirect(url_for("admin.segment", segment_id=segment_id))


def _page(
    made: Builder, given: Mapping[str, str], wrong: list[FieldError] | None = None, segment: Segment | None = None
) -> str:
    with db.transaction() as session:
        return render_template(
            "admin/segment_form.html", made=made, given=given, problems=wrong, segment=segment, **_choices(session)
        )


def _choices(session: Session) -> dict[str, Any]:
    """Return what there is to choose from."""
    workspace_id = here().workspace_id
    types = attributes.types(session, workspace_id)
    campaigns = (
        sa.select(Campaign.id, Campaign.name)
        .where(Campaign.workspace_id == workspace_id)
        .order_by(Campaign.id.desc())
        .limit(MOST_CAMPAIGNS)
    )
    return {
        "fields": list(FIELDS),
        "own": [f"{ATTRIBUTES}{name}" for name in types],
        "shape_of": lambda rule: builder.shape_of(rule, types),
        "kind_of": lambda name: builder.kind_of(name, types),
        "operators": OPERATORS,
        "options": {
            "user": [(str(id), email) for id, email in people(session, workspace_id).items()],
            "campaign": [(str(row.id), row.name) for row in session.execute(campaigns)],
            "country": COUNTRIES,
            "identity": [(str(kind), str(kind)) for kind in IdentityKind],
            "boolean": [("true", "yes"), ("false", "no")],
        },
    }
