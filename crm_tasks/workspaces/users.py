"""People who log in. Passwords are kept as argon2 hashes and nowhere else."""

import secrets
import uuid

import sqlalchemy as sa
from argon2 import PasswordHasher
from email_validator import EmailNotValidError, validate_email
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.core.types import new_id
from crm_tasks.workspaces.models import Role, User

ROLES = {"admin": "May do everything", "viewer": "May look at everything"}
SHORTEST = 12
_hasher = PasswordHasher()


def create(session: Session, email: str, *, password: str | None = None, role: str = "admin") -> tuple[User, str]:
    """Make a user and return it with its password, generated if none is given.

    Raises:
        Invalid: not an e-mail address, a password too short, or no such role. Conflict: the address is taken.
    """
    email = _checked_email(email)
    password = password or secrets.token_urlsafe(15)
    if len(password) < SHORTEST:
        raise Invalid(
            "The password is too short.", fields=[FieldError("password", f"Use {SHORTEST} characters or more.")]
        )
    if session.scalar(sa.select(User.id).where(User.email == email)) is not None:
        raise Conflict(f"There is a user {email} already.", code="user_exists")
    user = User(
        email=email,
        password=_hasher.hash(password),
        fs_uniquifier=uuid.uuid4().hex,
        roles=[_role(session, role)],
    )
    session.add(user)
    session.flush()
    return user, password


def set_password(session: Session, email: str, password: str | None = None) -> str:
    """Give a user a new password, generated if none is given, and end all its sessions; returns the password.

    Raises:
        NotFound: no such user. Invalid: too short.
    """
    user = _get(session, email)
    password = password or secrets.token_urlsafe(15)
    if len(password) < SHORTEST:
        raise Invalid(
            "The password is too short.", fields=[FieldError("password", f"Use {SHORTEST} characters or more.")]
        )
    user.password, user.fs_uniquifier = _hasher.hash(password), uuid.uuid4().hex
    return password


def listed(session: Session) -> list[User]:
    """Return all users by address."""
    return list(session.scalars(sa.select(User).order_by(User.email)))


def set_active(session: Session, email: str, *, active: bool) -> User:
    """Let a user log in, or not any more; the latter ends its sessions.

    Raises:
        NotFound: no such user.
    """
    user = _get(session, email)
    user.active = active
    if not active:
        user.fs_uniquifier = uuid.uuid4().hex
    return user


def _get(session: Session, email: str) -> User:
    user = session.scalar(sa.select(User).where(User.email == _checked_email(email)))
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def _role(session: Session, name: str) -> Role:
    if name not in ROLES:
        raise Invalid(f"There is no role {name!r}.", hint=f"Roles: {', '.join(ROLES)}.")
    statement = insert(Role).values(id=new_id(), name=name, description=ROLES[name], permissions=[])
    session.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    return session.scalars(sa.select(Role).where(Role.name == name)).one()


def _checked_email(email: str) -> str:
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError as error:
        raise Invalid(f"{email!r} is not an e-mail address.", fields=[FieldError("email", str(error))]) from None
