"""The guard: a small process that outlives the supervisor by seconds and ends what a killed one left behind.

On Linux the kernel tells the leader of each process group that its parent died, but not its children, and no
leader has to hurry: a web worker in a long request keeps its port until that ends. Elsewhere nobody is told.
The guard learns of every group through a pipe, whose end is the supervisor's death, whatever killed it.

Its one rule: standard library only, no import of ours, for it runs as a bare script (`python -I -S guard.py`).
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 0.1
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Group:
    """A process group: its leader's pid and birth, the signal that ends it, and the seconds until SIGKILL."""

    pid: int
    birth: str
    signal: int
    patience: float

    def line(self) -> str:
        """Return the order to watch this group, as it travels through the pipe."""
        return f"watch {self.pid} {self.birth} {self.signal} {self.patience}\n"

    def is_led(self) -> bool:
        """Say whether its leader lives and is the process it was."""
        return self.birth != "-" and birth(self.pid) == self.birth


def birth(pid: int) -> str:
    """Return when a process was born, unique with its pid; `-` if it is gone or the system cannot say."""
    try:
        fields = _fields(PROC / str(pid) / "stat")
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else f"{boot}:{fields[19]}"


def end(groups: Iterable[Group]) -> list[int]:
    """Ask every group to end, kill what does not within its patience; return the leaders' pids of those asked.

    A group whose leader's pid now belongs to another process is not touched. One whose leader is gone is still
    ours: the kernel gives nobody a pid that names a living group.
    """
    left = [group for group in _living(groups) if birth(group.pid) in ("-", group.birth)]
    asked, told = time.monotonic(), [group.pid for group in left]
    for group in left:
        _tell(group, group.signal)
    while left := _living(left):
        waited = time.monotonic() - asked
        for group in left:
            if waited > group.patience:
                _tell(group, signal.SIGKILL)
        if waited > max(group.patience for group in left) + 5:
            break
        time.sleep(POLL)
    return told


def _living(groups: Iterable[Group]) -> list[Group]:
    """Return the groups with a member that is more than a zombie: there may be nobody to reap those."""
    if not PROC.exists():
        return [group for group in groups if _exists(group)]
    numbers = set()
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number, *_ = _fields(stat)
            if state != "Z":
                numbers.add(int(number))
    return [group for group in groups if group.pid in numbers]


def _exists(group: Group) -> bool:
    try:
        os.killpg(group.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fields(stat: Path) -> list[str]:
    """Return state, parent, group and the rest; the name of the program before them may hold spaces and brackets."""
    return stat.read_text(errors="replace").rpartition(")")[2].split()


def _tell(group: Group, number: int) -> None:
    # Only the last resort goes to the whole group: see process.py on why the rest goes to the leader alone.
    send = os.killpg if number == signal.SIGKILL else os.kill
    with suppress(ProcessLookupError, PermissionError):
        send(group.pid, number)


def _watch(lines: Iterable[str]) -> list[Group]:
    groups: dict[int, Group] = {}
    for line in lines:
        match line.split():
            case ["watch", pid, born, number, patience]:
                groups[int(pid)] = Group(int(pid), born, int(number), float(patience))
            case ["forget", pid]:
                groups.pop(int(pid), None)
    return list(groups.values())


def main() -> None:
    """Read orders until the supervisor is gone, then end what it had not ended itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    end(_watch(sys.stdin))


if __name__ == "__main__":
    main()
