"""Templates of e-mails. What cannot be rendered is refused when it is written, by field and line."""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import dumps, now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.email.models import EmailTemplate
from crm_tasks.providers.mail import render
from crm_tasks.providers.mail.compose import MAX_SUBJECT
from crm_tasks.providers.mail.render import MAX_VARIABLES, TemplateProblem
from crm_tasks.workspaces import service as workspaces

WORDS = ("subject", "html", "text")


def create(
    session: Session, workspace_id: uuid.UUID, *, name: str, subject: str, html: str = "", text: str = ""
) -> EmailTemplate:
    """Keep a template.

    Raises:
        Invalid: it cannot be read. Conflict: the name is taken.
    """
    workspaces.get(session, workspace_id)
    template = EmailTemplate(workspace_id=workspace_id, name=name.strip(), subject=subject, html=html, text=text)
    _check(session, template)
    session.add(template)
    session.flush()
    session.refresh(template)
    return template


def change(session: Session, workspace_id: uuid.UUID, template_id: uuid.UUID, **values: str) -> EmailTemplate:
    """Change a template; messages that were accepted before keep their words.

    Raises:
        NotFound: no such template here. Invalid: it cannot be read. Conflict: the name is taken.
    """
    template = get(session, workspace_id, template_id)
    with session.no_autoflush:
        for column, value in values.items():
            setattr(template, column, value.strip() if column == "name" else value)
        _check(session, template)
    template.changed_at = session.scalars(sa.select(now())).one()
    session.flush()
    return template


def get(session: Session, workspace_id: uuid.UUID, template_id: uuid.UUID) -> EmailTemplate:
    """Return a template.

    Raises:
        NotFound: there is none of this id here.
    """
    found = session.get(EmailTemplate, template_id)
    if found is None or found.workspace_id != workspace_id:
        raise NotFound(f"There is no e-mail template {template_id}.", code="template_not_found")
    return found


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[EmailTemplate]:
    """Return templates, the newest first."""
    query = sa.select(EmailTemplate).where(EmailTemplate.workspace_id == workspace_id)
    if before is not None:
        query = query.where(EmailTemplate.id < before)
    return list(session.scalars(query.order_by(EmailTemplate.id.desc()).limit(limit)))


def delete(session: Session, workspace_id: uuid.UUID, template_id: uuid.UUID) -> None:
    """Forget a template.

    Raises:
        NotFound: there is none of this id here.
    """
    session.delete(get(session, workspace_id, template_id))
    session.flush()


def filled(template: EmailTemplate, variables: Mapping[str, Any], *, place: str = "") -> dict[str, str]:
    """Return the words of a template with values in their places.

    Args:
        place: where in the request the template stands, for the names of fields.

    Raises:
        Invalid: names the line, and the variable that is missing.
    """
    before = f"{place}." if place else ""
    if len(dumps(dict(variables))) > MAX_VARIABLES:
        text = f"At most {MAX_VARIABLES // 1024} kB as JSON."
        raise Invalid("The variables are too large.", fields=[FieldError(f"{before}variables", text)])
    words, problems = {}, []
    for name in WORDS:
        try:
            write = render.html if name == "html" else render.text
            words[name] = write(getattr(template, name), variables)
        except TemplateProblem as problem:
            problems.append(FieldError(f"{before}variables", f"{name}: {problem}", "bad_variables"))
    if problems:
        raise Invalid(f"The template {template.name!r} cannot be filled with these variables.", fields=problems)
    words["subject"] = words["subject"].strip()
    return words


def _check(session: Session, template: EmailTemplate) -> None:
    problems = render.problems({name: getattr(template, name) for name in WORDS})
    if not template.name:
        problems.append(FieldError("name", "Write a name."))
    if not template.subject.strip() or len(template.subject) > MAX_SUBJECT:
        problems.append(FieldError("subject", f"Write a subject of at most {MAX_SUBJECT} characters."))
    if not template.html.strip() and not template.text.strip():
        problems.append(FieldError("html", "Write html, text, or both."))
    if problems:
        raise Invalid("The template cannot be kept like this.", fields=problems)
    query = sa.select(EmailTemplate.id).where(
        EmailTemplate.workspace_id == template.workspace_id, EmailTemplate.name == template.name
    )
    if session.scalar(query) not in (None, template.id):
        raise Conflict(f"There is a template {template.name!r} already.", code="template_exists")
