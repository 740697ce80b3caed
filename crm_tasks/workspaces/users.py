"""People who log in. Passwords are kept as argon2 hashes and nowhere else."""

import secrets
import uuid
from zoneinfo import available_timezones

import sqlalchemy as sa
from argon2 import PasswordHasher
from email_validator import EmailNotValidError, validate_email
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound, did_you_mean
from crm_tasks.core.types import new_id
from crm_tasks.workspaces.models import Role, User
from crm_tasks.workspaces.roles import OPERATOR

SHORTEST = 12
_hasher = PasswordHasher()


def create(session: Session, email: str, *, password: str | None = None, operator: bool = False) -> tuple[User, str]:
    """Make a user and return it with its password, generated if none is given.

    An operator sees every workspace; anybody else sees those that `members.add` lets in.

    Raises:
        Invalid: not an e-mail address, or a password too short. Conflict: the address is taken.
    """
    email = checked_email(email)
    password = _checked_password(password)
    if session.scalar(sa.select(User.id).where(User.email == email)) is not None:
        raise Conflict(f"There is a user {email} already.", code="user_exists")
    user = User(
        email=email,
        password=_hasher.hash(password),
        fs_uniquifier=uuid.uuid4().hex,
        roles=[_operator(session)] if operator else [],
    )
    session.add(user)
    session.flush()
    return user, password


def set_password(session: Session, email: str, password: str | None = None) -> str:
    """Give a user a new password, generated if none is given, and end all its sessions; returns the password.

    Raises:
        NotFound: no such user. Invalid: too short.
    """
    user = get(session, email)
    password = _checked_password(password)
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
    user = get(session, email)
    user.active = active
    if not active:
        user.fs_uniquifier = uuid.uuid4().hex
    return user


def set_time_zone(session: Session, user_id: uuid.UUID, name: str) -> None:
    """Have times shown to a person in a zone.

    Raises:
        Invalid: there is no such zone.
    """
    if name not in available_timezones():
        error = FieldError("time_zone", "Use a name such as Europe/Berlin.")
        raise Invalid(
            f"There is no time zone {name!r}.", hint=did_you_mean(name, available_timezones()), fields=[error]
        )
    session.get_one(User, user_id).time_zone = name


def get(session: Session, email: str) -> User:
    """Return a user by address.

    Raises:
        NotFound: there is none.
    """
    user = session.scalar(sa.select(User).where(User.email == checked_email(email)))
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def checked_email(email: str) -> str:
    """Return an address as it is kept.

    Raises:
        Invalid: it is none.
    """
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError as error:
        raise Invalid(f"{email!r} is not an e-mail address.", fields=[FieldError("email", str(error))]) from None


def _checked_password(password: str | None) -> str:
    password = password or secrets.token_urlsafe(15)
    if len(password) < SHORTEST:
        error = FieldError("password", f"Use {SHORTEST} characters or more.")
        raise Invalid("The password is too short.", hint=error.message, fields=[error])
    return password


def _operator(session: Session) -> Role:
    statement = insert(Role).values(id=new_id(), name=OPERATOR, description="Runs the whole system", permissions=[])
    session.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    return session.scalars(sa.select(Role).where(Role.name == OPERATOR)).one()
