"""What the gateways remember of the messages they took: the keys, whom a message was for, and who opted out."""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b

from sandbox.dedupe import Seen
from sandbox.fields import Json

KEPT = 20_000


class Register:
    """Messages by id, the newest; keys for ever."""

    def __init__(self) -> None:
        self.opted_out: set[str] = set()
        self._keys = Seen()
        self._sent: OrderedDict[str, Json] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def took(self, event: Json) -> None:
        """Apply a `took` event."""
        if event.get("key"):
            self._keys.add(event["key"])
        if event.get("route") and not event.get("twice"):
            self._sent[event["id"]] = event["route"]
            if len(self._sent) > KEPT:
                self._sent.popitem(last=False)

    def get(self, message_id: str) -> Json | None:
        """Return where a message went and where its callbacks go, or None when it is not known any more."""
        return self._sent.get(message_id)

    def opt(self, event: Json) -> None:
        """Apply an `opted` event: somebody wants no texts any more, or wants them again."""
        if event["out"]:
            self.opted_out.add(event["phone"])
        else:
            self.opted_out.discard(event["phone"])

    def restore(self, event: Json) -> None:
        """Apply a `register` event."""
        self.opted_out.update(event["opted_out"])
        self._keys.restore(event["keys"])
        self._sent.update(event["sent"])

    def snapshot(self) -> Iterator[Json]:
        """Yield the event that brings it back."""
        yield {
            "k": "register",
            "opted_out": sorted(self.opted_out),
            "keys": self._keys.dump(),
            "sent": dict(self._sent),
        }


def named(prefix: str, key: str) -> str:
    """Return the id of the message with this key: the same key has the same id, for ever."""
    return prefix + blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
