"""Logging in by trial and error: so many attempts in a quarter of an hour, per account and per network address.

An attempt is counted before the password is looked at, so that a thousand at once are no more than a thousand in turn.
The counts are in Postgres: an emptied Redis forgets nobody. A lock ends by itself when its window does, so that nobody
is kept out for long by somebody else's attempts.
"""

import ipaddress
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core import crypto
from crm_tasks.core.db import changed, now
from crm_tasks.core.log import get_logger
from crm_tasks.workspaces.models import LoginAttempts

log = get_logger(__name__)

WINDOW = timedelta(minutes=15)
MOST_ACCOUNT, MOST_ADDRESS = 10, 50


def attempt(session: Session, email: str, address: str) -> timedelta | None:
    """Count an attempt; return how long it takes until the next, None if this one may be made.

    From an address that is locked nothing is counted for accounts: neither rows nor locks can be made from there.
    """
    wait = _count(session, _address(address), MOST_ADDRESS)
    return wait if wait is not None else _count(session, _account(email), MOST_ACCOUNT)


def succeeded(session: Session, email: str, address: str) -> None:
    """Forget the attempts of an account, and the one that was right of the address."""
    session.execute(sa.delete(LoginAttempts).where(LoginAttempts.key == _account(email)))
    mine = LoginAttempts.key == _address(address)
    session.execute(sa.update(LoginAttempts).where(mine).values(attempts=LoginAttempts.attempts - 1))


def unlock(session: Session, email: str) -> bool:
    """Let an account try again at once; say whether it had tried."""
    return bool(changed(session.execute(sa.delete(LoginAttempts).where(LoginAttempts.key == _account(email)))))


def _count(session: Session, key: bytes, most: int) -> timedelta | None:
    over = LoginAttempts.since < now() - WINDOW
    statement = insert(LoginAttempts).values(key=key, attempts=1, since=now())
    row = session.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                # Bounded: what comes while it is locked changes nothing.
                "attempts": sa.case((over, 1), else_=sa.func.least(LoginAttempts.attempts, most) + 1),
                "since": sa.case((over, now()), else_=LoginAttempts.since),
            },
        ).returning(LoginAttempts.attempts, LoginAttempts.since, now())
    ).one()
    if row[0] <= most:
        return None
    log.warning("login.locked", key=key.hex()[:12])
    return row[1] + WINDOW - row[2]


def _account(email: str) -> bytes:
    return crypto.digest(f"account:{email.strip().lower()}")


def _address(address: str) -> bytes:
    """Return the key of an address; of IPv6 that of its network, as one customer has all of it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return crypto.digest(f"address:{address}")
    prefix = 32 if found.version == 4 else 64
    return crypto.digest(f"address:{ipaddress.ip_network((found, prefix), strict=False)}")
