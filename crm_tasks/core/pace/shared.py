"""The account that all processes share: one Lua call reserves in every bucket, or in none."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import redis
from redis.commands.core import Script
from sqlalchemy.exc import SQLAlchemyError

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.pace import learned
from crm_tasks.core.pace.buckets import AHEAD, LATE, TRAVEL, Entry, Limit, Members, Slot, Window, Wish
from crm_tasks.core.redis import manager

log = get_logger(__name__)

# How long a process that lost Redis may go on alone before it asks again; the account stays closed for so long.
LAG = timedelta(seconds=1)
LOADING = timedelta(seconds=60)
_TRIES = 3


def _micro(span: timedelta) -> int:
    return round(span.total_seconds() * 1_000_000)


_SPANS, _UNHEARD = (_micro(AHEAD), _micro(LAG)), _micro(LATE + TRAVEL)
# What a reservation took in one bucket: its field there, what that was before and is after, and its number in a window.
Taken = Sequence[bytes]


def reserve(limits: Sequence[Limit], *, high: bool, member: str | None, away: float) -> Slot:
    """Reserve one start in all of these or none. `away`: for how many seconds this process had no Redis.

    Raises:
        redis.RedisError: it does not answer.
    """
    for _ in range(_TRIES):
        kind, *answer = said = _ask("reserve", limits, high=high, member=member, away=away)
        if (slot := _slot(limits, said)) is not None:
            return slot
        if kind == b"unknown" and not begin():
            return Slot(False, AHEAD)
        if kind == b"load" and not _load(limits[answer[0] - 1]):
            return Slot(False, AHEAD, _name(limits, answer[0]))
    return Slot(False, AHEAD)


def reserve_many(wishes: Sequence[Wish]) -> list[Slot]:
    """Reserve one start for each, with one round trip for all; the order is that of the wishes.

    Raises:
        redis.RedisError: it does not answer; what was reserved by then is lost.
    """
    sha = _script("reserve").sha
    with manager().client().pipeline(transaction=False) as pipe:
        for wish in wishes:
            keys, args = _question("reserve", wish.limits, high=wish.high, member=wish.member, away=0.0)
            pipe.evalsha(sha, len(keys), *keys, *args)
        answers = pipe.execute(raise_on_error=False)
    # Redis or one of its sets was emptied, or it does not know the script: whoever asks alone sees to that.
    found = [_known(wish.limits, answer) for wish, answer in zip(wishes, answers, strict=True)]
    return [
        slot or reserve(wish.limits, high=wish.high, member=wish.member, away=0.0)
        for slot, wish in zip(found, wishes, strict=True)
    ]


def _known(limits: Sequence[Limit], answer: Any) -> Slot | None:
    if isinstance(answer, redis.exceptions.NoScriptError):
        return None
    if isinstance(answer, redis.RedisError):
        raise answer
    return _slot(limits, answer)


def _slot(limits: Sequence[Limit], answer: Sequence[Any]) -> Slot | None:
    kind, *rest = answer
    if kind == b"reserved":
        wait, gate, at = rest[:3]
        taken = [rest[at : at + 4] for at in range(3, len(rest), 4)]
        undo = partial(_undo, limits, taken)
        return Slot(True, _span(wait), _name(limits, gate), int(at) / 1_000_000, undo, _counted(limits, taken))
    if kind == b"later":
        return Slot(False, _span(rest[0]), _name(limits, rest[1]))
    return None


def _counted(limits: Sequence[Limit], taken: Sequence[Taken]) -> tuple[Entry, ...]:
    return tuple(
        Entry(limit.name, lane.decode(), number.decode())
        for limit, (lane, _, _, number) in zip(limits, taken, strict=True)
        if isinstance(limit, Window)
    )


def arrived(ages: Mapping[Entry, float]) -> None:
    """Write down by when these starts have surely arrived: so many seconds ago, or from now on if it is negative.

    Raises:
        redis.RedisError: it does not answer.
    """
    keys = [f"{_key(entry.window)}:{entry.lane}" for entry in ages]
    args = [each for entry, age in ages.items() for each in (entry.number, round(age * 1_000_000))]
    _script("arrived")(keys=keys, args=args, client=manager().client())


def ahead(limit: Limit, *, high: bool) -> timedelta | None:
    """Return how far off the next start is for who comes last; None if Redis was emptied and not used since.

    Raises:
        redis.RedisError: it does not answer.
    """
    kind, *answer = _ask("peek", [limit], high=high, member=None, away=0.0)
    return _span(answer[0]) if kind == b"ahead" else None


def begin() -> bool:
    """Open the account of an empty Redis, with the rates that were learned; False if Postgres cannot tell them."""
    client = manager().client()
    if client.hexists(_account(), "since"):
        return True
    try:
        with db.dedicated() as connection:  # the caller may hold one of the pool
            slowed = learned.slowed(connection)
    except (psycopg.Error, SQLAlchemyError) as error:
        if rarely("pace.not_begun"):
            log.warning("pace.not_begun", error=type(error).__name__)
        return False
    keys = [_account(), *map(_key, slowed)]
    if _script("begin")(keys=keys, args=["open", *slowed.values()], client=client):
        log.info("pace.begun", slowed=len(slowed))
    return True


def slow(name: str, factor: float) -> None:
    """Let a bucket have only this part of its rate, growing again from now on."""
    _script("begin")(keys=[_account(), _key(name)], args=["slow", factor], client=manager().client())


def forget_members(name: str) -> None:
    """Have a set read again. Who is in it by what was reserved meanwhile stays."""
    manager().client().hdel(_key(name), "known")


def _ask(mode: str, limits: Sequence[Limit], *, high: bool, member: str | None, away: float) -> list[Any]:
    keys, args = _question(mode, limits, high=high, member=member, away=away)
    return _script("reserve")(keys=keys, args=args, client=manager().client())


def _question(
    mode: str, limits: Sequence[Limit], *, high: bool, member: str | None, away: float
) -> tuple[list[str], list[Any]]:
    hashed = _hashed(member) if member is not None else ""
    keys, args = [_account()], [mode, "high" if high else "low", *_SPANS, round(away * 1_000_000), hashed, _UNHEARD]
    for limit in limits:
        keys += _keys(limit)
        args += _arguments(limit)
    return keys, args


def _keys(limit: Limit) -> list[str]:
    key = _key(limit.name)
    if isinstance(limit, Members):
        return [key, f"{key}:members", key]
    return [key, f"{key}:low", f"{key}:high"] if isinstance(limit, Window) else [key, key, key]


def _arguments(limit: Limit) -> tuple[Any, ...]:
    if isinstance(limit, Members):
        return ("set", limit.limit, _micro(limit.window), 0, 0, 0, 0, 0)
    low, high = limit.lanes
    kept = (high.step, high.burst, high.count) if high else (0, 0, 0)
    window = round(limit.seconds * 1_000_000) if isinstance(limit, Window) else 0
    return ("rate", low.step, low.burst, low.count, *kept, window)


def _undo(limits: Sequence[Limit], taken: Sequence[Taken]) -> None:
    keys, args = [], []
    for limit, (field, *rest) in zip(limits, taken, strict=True):
        key = _key(limit.name)
        is_set = isinstance(limit, Members)
        keys += [f"{key}:members" if is_set else key, f"{key}:{field.decode()}" if isinstance(limit, Window) else key]
        args += ["set" if is_set else "rate", field, *rest]
    _script("give_back")(keys=keys, args=args, client=manager().client())


def _load(limit: Limit) -> bool:
    """Read the members of an emptied set again; False if another process does, or Postgres cannot tell."""
    assert isinstance(limit, Members)
    client, key = manager().client(), _key(limit.name)
    if not client.set(f"{key}:loading", 1, px=LOADING, nx=True):
        return False
    try:
        seconds, rest = client.time()
        found = iter(limit.rebuild())
        while some := {_hashed(member): round(at.timestamp() * 1e6) for member, at in islice(found, 1000)}:
            # A later moment that is there already was reserved since.
            client.zadd(f"{key}:members", some, gt=True)
        client.pexpire(f"{key}:members", limit.window)
        client.hset(key, "known", f"{seconds}{rest:06d}")
        log.info("pace.members_loaded", bucket=limit.name, members=client.zcard(f"{key}:members"))
        return True
    except (psycopg.Error, SQLAlchemyError) as error:
        if rarely("pace.not_loaded"):
            log.warning("pace.not_loaded", bucket=limit.name, error=type(error).__name__)
        return False
    finally:
        client.delete(f"{key}:loading")


@lru_cache
def _script(name: str) -> Script:
    text = Path(__file__).with_name(f"{name}.lua").read_text()
    return Script(manager().client(), text)


def _account() -> str:
    return f"{settings().key_prefix}pace"


def _key(name: str) -> str:
    return f"{settings().key_prefix}pace:{name}"


def _hashed(member: str) -> str:
    """Return what stands for a member in Redis: nobody's phone number."""
    secret = settings().secret_key.encode()[:64]
    return hashlib.blake2b(member.encode(), key=secret, digest_size=12).hexdigest()


def _name(limits: Sequence[Limit], gate: int) -> str | None:
    return limits[gate - 1].name if gate else None


def _span(microseconds: int) -> timedelta:
    return timedelta(microseconds=int(microseconds))
