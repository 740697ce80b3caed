"""A set of everything ever seen, at eight bytes an entry: 64-bit digests in sorted shards."""

from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left
from hashlib import blake2b

SHARDS = 256


class Seen:
    """Remembers strings for ever. Two different ones are confused once in about 10^19 pairs."""

    def __init__(self) -> None:
        self._shards = [array("Q") for _ in range(SHARDS)]

    def __contains__(self, text: str) -> bool:
        digest = _digest(text)
        shard = self._shards[digest % SHARDS]
        place = bisect_left(shard, digest)
        return place < len(shard) and shard[place] == digest

    def add(self, text: str) -> bool:
        """Remember a string and say whether it is new."""
        digest = _digest(text)
        shard = self._shards[digest % SHARDS]
        place = bisect_left(shard, digest)
        if place < len(shard) and shard[place] == digest:
            return False
        shard.insert(place, digest)
        return True

    def dump(self) -> list[str]:
        """Return the content as text."""
        return [b64encode(shard.tobytes()).decode() for shard in self._shards]

    def restore(self, dumped: list[str]) -> None:
        """Take over what `dump` returned."""
        for shard, text in zip(self._shards, dumped, strict=True):
            del shard[:]
            shard.frombytes(b64decode(text))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
