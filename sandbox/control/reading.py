"""What scripts learn: health, the log of everything received, and the counters."""

import os
import time
from datetime import UTC, datetime

from flask import Response, request

from sandbox import __version__
from sandbox.control import answer, blueprint, whole_query, world
from sandbox.fields import BadInput
from sandbox.log import KEPT, KINDS, Entry
from sandbox.world import World


@blueprint.get("/health")
def health() -> Response:
    """Say that the sandbox is there, and how its webhooks are doing."""
    here = world()
    return answer(
        {
            "status": "ok",
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(time.time() - here.started, 1),
            "journal": str(here.journal.path) if here.journal.path else None,
            "replayed": here.replayed,
            "webhooks": here.outbox.health(),
        }
    )


@blueprint.get("/stats")
def stats() -> Response:
    """Give the counters; `seconds=60` adds what was accepted in each of the last 60 seconds."""
    here = world()
    seconds = whole_query("seconds", 0)
    with here.lock:
        counted = here.stats.public()
        counted["unique_outside_window"] = here.gate.reached(time.time())
        if seconds:
            counted["per_second"] = here.stats.per_second(seconds, time.time())
        totals = here.stats.totals
        counted["webhooks"] = here.outbox.health() | {
            key: totals[key] for key in ("delivered", "posts", "failed_attempts")
        }
        counted["faults"] = sum(rule.hits for rule in here.faults)
    return answer(counted)


@blueprint.get("/log")
def log() -> Response:
    """Give the log after `since`, a number or a time; `kind`, `to`, `limit` and `tail` narrow it down."""
    here = world()
    kinds = {kind for kind in request.args.get("kind", "").split(",") if kind}
    if not kinds <= set(KINDS):
        raise BadInput(f"kind must be of {', '.join(KINDS)}.", "kind")
    limit, tail = whole_query("limit", KEPT), whole_query("tail", 0)
    since = _since(here, request.args.get("since", ""))
    to = (request.args.get("to") or "").lstrip("+ ") or None
    with here.lock:
        entries: list[Entry] = []
        last = since
        for entry in here.log.since(since, kinds, to):
            if len(entries) == limit:
                break
            entries.append(entry)
        else:
            last = max(since, here.log.last)
        if len(entries) == limit and entries:
            last = entries[-1].seq
    return answer({"data": [entry.public() for entry in entries[-tail:]], "next": last})


def _since(here: World, text: str) -> int:
    if not text:
        return 0
    if text.isdigit() and len(text) < 16:
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise BadInput("since must be a number from the log or an ISO 8601 time.", "since") from None
    with here.lock:
        return here.log.before((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
