"""Logging in to the admin: Flask-Security with argon2, CSRF on every form; sessions are signed cookies."""

import math
from datetime import timedelta
from typing import Any

from flask import Flask, Response, after_this_request, request
from flask_security import LoginForm, Security, SQLAlchemySessionUserDatastore, UserMixin
from flask_wtf import CSRFProtect
from sqlalchemy.orm import Session, scoped_session

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.workspaces import audit, lockout
from crm_tasks.workspaces.models import Role, User

# passlib: MAX_PASSWORD_SIZE
LONGEST_PASSWORD = 4096


class LoginUser(UserMixin, User):  # type: ignore[misc]  # the columns are what the mixin announces
    """A user as Flask-Security needs it: the same rows."""


class BoundedLoginForm(LoginForm):
    """Tries so many passwords in a while, and none that is longer than argon2 takes: beyond that it raises."""

    def validate(self, **options: Any) -> bool:
        """Say whether these are somebody's credentials."""
        self.password.data = str(self.password.data or "")[:LONGEST_PASSWORD]
        # Sessions end with the browser or after twelve hours; no cookie logs in by itself.
        self.remember.data = False
        email = str(self.email.data or "").encode(errors="replace").decode()
        address = request.remote_addr or ""
        wait = db.retrying(lockout.attempt, email, address)
        if wait is not None:
            self._refuse(wait)
            return False
        right = super().validate(**options)
        if right:
            db.retrying(_told, email, address)
        return right

    def _refuse(self, wait: timedelta) -> None:
        minutes = math.ceil(wait.total_seconds() / 60)
        self.form_errors = [f"Too many attempts. Try again in {minutes} minutes; `crm user unlock` lets you in sooner."]

        @after_this_request
        def _say_when(response: Response) -> Response:
            response.status_code = 429
            response.headers["Retry-After"] = str(minutes * 60)
            return response


def _told(session: Session, email: str, address: str) -> None:
    lockout.succeeded(session, email, address)
    audit.record(session, actor=f"user:{email.strip().lower()}", action="login", workspace_id=None)


def register(app: Flask) -> None:
    """Add the login, and CSRF protection for every form that a session can post."""
    app.config.update(_config())
    # Made lazily: the engine belongs to the process that serves, not to the one that makes the app.
    sessions: scoped_session[Session] = scoped_session(lambda: Session(db.engine()))  # type: ignore[arg-type]
    app.teardown_appcontext(lambda _error: sessions.remove())
    CSRFProtect(app)
    users = SQLAlchemySessionUserDatastore(sessions, LoginUser, Role)  # type: ignore[arg-type]
    Security(app, users, login_form=BoundedLoginForm)


def exempt(app: Flask, *blueprints: Any) -> None:
    """Take doors out of CSRF protection that no browser session opens: they carry a key or a signature."""
    for blueprint in blueprints:
        app.extensions["csrf"].exempt(blueprint)


def _config() -> dict[str, Any]:
    return {
        "SECURITY_URL_PREFIX": "/admin",
        "SECURITY_PASSWORD_HASH": "argon2",
        "SECURITY_PASSWORD_SCHEMES": ["argon2"],
        # The password goes into argon2 as it is, so that the command line can make users without Flask.
        "SECURITY_PASSWORD_SINGLE_HASH": ["argon2"],
        "SECURITY_PASSWORD_SALT": settings().password_salt,
        "SECURITY_POST_LOGIN_VIEW": "/admin/",
        "SECURITY_POST_LOGOUT_VIEW": "/admin/login",
        "SECURITY_LOGIN_USER_TEMPLATE": "admin/login.html",
        "SECURITY_RETURN_GENERIC_RESPONSES": True,
        "SECURITY_FLASH_MESSAGES": False,
        "SECURITY_LOGOUT_CSRF": True,
        "SECURITY_REGISTERABLE": False,
        "SECURITY_SEND_REGISTER_EMAIL": False,
        "SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False, "test_environment": True},
        "WTF_CSRF_TIME_LIMIT": 12 * 3600,
        "PERMANENT_SESSION_LIFETIME": 12 * 3600,
    }
