"""A provider that takes 50 ms for each message and never refuses one: `python -m benchmarks.provider PORT`.

It answers as the Graph API does and counts what it took at `GET /count`, so that nobody counts what never left.
"""

import asyncio
import sys

WAIT = 0.05


class Provider(asyncio.Protocol):
    """One connection: requests one after the other, each answered after the wait."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing read."""
        self._transport, self._read = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is here as a whole."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            if head.startswith(b"get /count"):
                self._answer(str(Provider.taken).encode())
            else:
                Provider.taken += 1
                body = b'{"messaging_product":"whatsapp","messages":[{"id":"wamid.B%d"}]}' % Provider.taken
                asyncio.get_running_loop().call_later(WAIT, self._answer, body)

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)  # type: ignore[attr-defined]


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
