"""The supervisor: keeps a set of processes running and takes them down in order.

Its one rule: one thread, one loop. It never gives up on a process, and it never leaves one behind: what it
starts is told of its death by the kernel, and the guard ends the rest.
"""

import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import guard
from crm_tasks.stack.output import Lines, Output
from crm_tasks.stack.process import Process, Program, State
from crm_tasks.stack.state import Record

_TICK = 0.2
_LOUD = 5
_SAME_PRESS = 0.5
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The user wants out while something that may be broken off is under way."""


class Interrupts:
    """The stop signals: counted, or raised as `Stopped` where the code has said that it may be broken off."""

    def __init__(self) -> None:
        self.count = 0
        self._last = 0.0
        self._may_break = False

    def install(self) -> None:
        """Take over the signals of this process."""
        for number in STOPPING:
            # nohup: a terminal that closes is not to matter.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._received)

    def ignore(self) -> None:
        """Hear no more of them: nothing is left to stop, and one in Python's last moment would look like a crash."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def breakable(self, step: Callable[[], None]) -> None:
        """Run a step that a signal may break off."""
        self.check()
        self._may_break = True
        try:
            step()
        finally:
            self._may_break = False

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.count:
            raise Stopped

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        # One Ctrl-C may come twice: from the terminal, and passed on by a program between it and us.
        if time.monotonic() - self._last > _SAME_PRESS:
            self.count, self._last = self.count + 1, time.monotonic()
        if self._may_break:
            self._may_break = False
            raise Stopped


class Guard:
    """The supervisor's end of the pipe to the guard."""

    def __init__(self) -> None:
        self._watched: dict[int, guard.Group] = {}
        self._popen = self._start()

    def watch(self, group: guard.Group) -> None:
        """Tell it of a new process group."""
        self._watched[group.pid] = group
        self._tell(group.line())

    def forget(self, pid: int) -> None:
        """Tell it of one that has ended."""
        self._watched.pop(pid, None)
        self._tell(f"forget {pid}\n")

    def keep(self) -> None:
        """Start it again if it has died."""
        if self._popen.poll() is not None:
            self._popen = self._start()
            for group in self._watched.values():
                self._tell(group.line())

    def close(self) -> None:
        """Let it end."""
        if self._popen.stdin:
            self._popen.stdin.close()
        self._popen.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _tell(self, order: str) -> None:
        # A dead one is told everything again by keep().
        with suppress(BrokenPipeError):
            assert self._popen.stdin
            self._popen.stdin.write(order.encode())


class Supervisor:
    """Starts, watches, restarts and stops."""

    def __init__(self, output: Output, record: Record, interrupts: Interrupts) -> None:
        self.processes: list[Process] = []
        self.stopping = False
        self._output, self._record, self._interrupts = output, record, interrupts
        self._selector = selectors.DefaultSelector()
        self._guard = Guard()

    def start(self, program: Program) -> Process:
        """Start a program and keep it running from now on."""
        process = Process(program)
        self._output.add(program.name)
        self.processes.append(process)
        self._launch(process)
        self._write()
        return process

    def step(self, timeout: float = _TICK) -> None:
        """Pass on what processes said, see who ended, start again who is due."""
        for key, _ in self._selector.select(timeout):
            self._pass_on(key.data, key.fileobj)
        ended = [process for process in self.processes if process.ended()]
        for process in ended:
            self._reaped(process)
        if not self.stopping:
            due = [p for p in self.processes if p.state is State.WAITING and p.due <= time.monotonic()]
            for process in due:
                self._launch(process)
            self._guard.keep()
            ended += due
        if ended:
            self._write()

    def stop(self) -> None:
        """Take everything down: the web first, the stores last; each order waits for the one before."""
        self.stopping = True
        for order in sorted({process.kind.order for process in self.processes}):
            self._stop([process for process in self.processes if process.kind.order == order])
        self.step(0)
        self._guard.close()
        self._record.remove()

    def _stop(self, processes: list[Process]) -> None:
        for process in processes:
            process.ask_to_stop()
        self._write()
        said = False
        while waiting := [process for process in processes if process.state is State.STOPPING]:
            self.step(0.05)
            hurried = self._interrupts.count > 1 and not processes[0].kind.is_store
            for process in waiting:
                process.press(hurried=hurried)
            if not said and max(process.waited() for process in waiting) > 3:
                said = True
                names = ", ".join(process.name for process in waiting)
                self._output.say(f"waiting for {names} to finish; Ctrl-C again hurries")

    def _launch(self, process: Process) -> None:
        try:
            process.start()
        except (OSError, subprocess.SubprocessError, ConfigError) as error:
            self._output.say(f"{process.name} cannot be started: {error}")
            process.crashed()
            return
        self._guard.watch(process.group)
        if process.popen and process.popen.stdout:
            descriptor = process.popen.stdout
            self._selector.register(descriptor, selectors.EVENT_READ, (process.name, Lines(descriptor.fileno())))

    def _reaped(self, process: Process) -> None:
        assert process.popen
        self._guard.forget(process.popen.pid)
        if process.state is State.STOPPING or self.stopping:
            process.state = State.STOPPED
            return
        delay = process.crashed()
        if process.failures > _LOUD:
            self._output.say(
                f"!! {process.name} {process.how_it_ended()}, {process.failures} times in a row now; "
                f"its lines above may say why. Next try in {delay:.0f} s."
            )
        else:
            self._output.say(f"{process.name} {process.how_it_ended()}; starts again in {delay:.1f} s")

    def _pass_on(self, data: tuple[str, Lines], stream: object) -> None:
        name, lines = data
        texts, over = lines.read()
        for text in texts:
            self._output.line(name, text)
        if over:
            self._selector.unregister(stream)  # type: ignore[arg-type]
            stream.close()  # type: ignore[attr-defined]

    def _write(self) -> None:
        self._record.write([process.status() for process in self.processes])
