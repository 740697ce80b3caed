"""Counters, exact for as long as the journal lives, however little of the history itself is kept."""

from collections import Counter, deque
from collections.abc import Iterator

from sandbox.dedupe import Seen
from sandbox.fields import Json

LIMITS = ("messages_per_second", "per_minute", "pair", "unique_per_day")
_COUNTERS = ("totals", "kinds", "accepted", "refused", "violations", "maxima", "taken", "again")
SECONDS_KEPT = 3600


class Stats:
    """What happened so far, by kind, number and error code."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.maxima: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.again: Counter[str] = Counter()
        self.repeated: deque[str] = deque(maxlen=20)
        self._seen = Seen()
        self._second: dict[str, deque[float]] = {}
        self._seconds: dict[str, dict[int, int]] = {}

    def received(self, event: Json) -> None:
        """Count a request that was answered with anything but an accepted message."""
        self.kinds[event["kind"]] += 1
        if event.get("code") is not None:
            self.refused[str(event["code"])] += 1
        if event.get("limit"):
            self.violations[event["limit"]] += 1

    def took(self, event: Json) -> None:
        """Count a message that a gateway or the SMTP server accepted, or knew already."""
        kind = event["kind"]
        self.kinds[kind] += 1
        if event.get("twice"):
            self.again[kind] += 1
        else:
            self.taken[kind] += 1
            self._count(kind, event["t"])

    def sent(self, event: Json) -> None:
        """Count an accepted message."""
        number_id = event["num"]
        self.kinds["message"] += 1
        self.totals["accepted"] += 1
        self.accepted[number_id] += 1
        biz = event.get("biz")
        if biz is not None and not self._seen.add(biz):
            self.totals["duplicates"] += 1
            self.repeated.append(biz)
        if event.get("limit"):
            self.violations[event["limit"]] += 1
        times = self._second.setdefault(number_id, deque())
        now = event["t"]
        self._count(number_id, now)
        times.append(now)
        while times[0] <= now - 1:
            times.popleft()
        if len(times) > self.maxima[number_id]:
            self.maxima[number_id] = len(times)

    def per_second(self, seconds: int, now: float) -> dict[str, list[list[int]]]:
        """Return how many messages were accepted in each of the last whole seconds, by number and by gateway."""
        first = int(now) - seconds
        return {
            name: [[second, count] for second, count in counts.items() if second >= first]
            for name, counts in self._seconds.items()
        }

    def _count(self, name: str, t: float) -> None:
        counts = self._seconds.setdefault(name, {})
        second = int(t)
        counts[second] = counts.get(second, 0) + 1
        if len(counts) > SECONDS_KEPT:
            del counts[next(iter(counts))]

    def public(self) -> Json:
        """Return the counters as scripts read them."""
        totals = self.totals
        return {
            "accepted": totals["accepted"],
            "accepted_by_number": dict(self.accepted),
            "accepted_by_kind": {"message": totals["accepted"], **self.taken},
            "duplicates": totals["duplicates"],
            "duplicates_by_kind": {"message": totals["duplicates"], **self.again},
            "duplicate_samples": list(self.repeated),
            "inbound": totals["inbound"],
            "received_by_kind": dict(self.kinds),
            "refused": sum(self.refused.values()),
            "refused_by_code": dict(self.refused),
            "violations": {kind: self.violations[kind] for kind in (*LIMITS, *self.violations)},
            "max_per_second": dict(self.maxima),
        }

    def restore(self, event: Json) -> None:
        """Apply a `counters` event."""
        for name in _COUNTERS:
            getattr(self, name).update(event.get(name, {}))
        self.repeated.extend(event["repeated"])
        self._seen.restore(event["seen"])

    def snapshot(self) -> Iterator[Json]:
        """Yield the event that brings the counters back."""
        counters = {name: dict(getattr(self, name)) for name in _COUNTERS}
        yield {"k": "counters", **counters, "repeated": list(self.repeated), "seen": self._seen.dump()}
