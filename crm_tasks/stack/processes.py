"""Looking at the processes of this machine. Its one rule: by name and command line, which anyone may read."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def find(program: str, token: str) -> list[int]:
    """Return the pids of processes named `program` whose command line holds `token`."""
    return [pid for pid, name, command in _all() if name == program and token in command]


def _all() -> Iterator[tuple[int, str, str]]:
    """Give pid, name of the program and command line of every process."""
    if (PROC / "self/stat").exists():
        yield from _from_proc()
    else:
        yield from _from_ps()


def _from_proc() -> Iterator[tuple[int, str, str]]:
    for directory in PROC.iterdir():
        if directory.name.isdigit():
            try:
                name = (directory / "comm").read_text(errors="replace").strip()
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if command:
                yield int(directory.name), name, command


def _from_ps() -> Iterator[tuple[int, str, str]]:
    names = _column("comm")
    for pid, command in _column("command").items():
        yield pid, Path(names.get(pid, "")).name, command


def _column(name: str) -> dict[int, str]:
    listing = subprocess.run(["/bin/ps", "-axo", f"pid=,{name}="], capture_output=True, text=True, check=True)
    rows = (line.strip().partition(" ") for line in listing.stdout.splitlines())
    return {int(pid): text.strip() for pid, _, text in rows}
