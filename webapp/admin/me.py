"""What a person sets for itself: the zone of times, the password."""

from zoneinfo import available_timezones

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_security import current_user, logout_user

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError
from crm_tasks.workspaces import users
from webapp.admin import blueprint
from webapp.admin.access import here


@blueprint.get("/me")
def me() -> str:
    """Show what can be set."""
    return _page()


@blueprint.post("/me")
def change_me() -> ResponseReturnValue:
    """Have times shown in another zone."""
    try:
        with db.transaction() as session:
            users.set_time_zone(session, here().user_id, request.form.get("time_zone", "").strip())
    except DomainError as error:
        return _page(f"{error.message} {error.hint}"), 422
    return redirect(url_for("admin.me"))


@blueprint.post("/me/password")
def change_password() -> ResponseReturnValue:
    """Set another password; every session of the person ends, this one too."""
    if not current_user.verify_and_update_password(request.form.get("password", "")):
        return _page("The present password is not right."), 422
    try:
        with db.transaction() as session:
            users.set_password(session, here().email, request.form.get("new_password") or " ")
    except DomainError as error:
        return _page(f"{error.message} {error.hint}"), 422
    logout_user()
    return redirect(url_for("security.login"))


def _page(problem: str = "") -> str:
    return render_template("admin/me.html", problem=problem, zones=sorted(available_timezones()))
