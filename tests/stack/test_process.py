"""How a process is started, pressed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crm_tasks.stack import process as processes
from crm_tasks.stack.output import Lines
from crm_tasks.stack.process import Kind, Process, Program, State
from tests.harness import eventually


def made(tmp_path: Path, script: str, kind: Kind | None = None, **options: object) -> Process:
    argv = [sys.executable, "-c", script]
    return Process(Program(name="it", argv=argv, kind=kind or Kind(order=1), env={}, cwd=tmp_path, **options))  # type: ignore[arg-type]


def test_the_pause_before_a_restart_doubles_up_to_a_limit_and_a_stable_minute_resets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = made(tmp_path, "")
    process._since = time.monotonic()
    pauses = [process.crashed() for _ in range(12)]
    for pause, expected in zip(pauses, [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30], strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected
    assert len(set(pauses)) == 12
    assert process.restarts == process.failures == 12 and process.state is State.WAITING
    process._since = time.monotonic() - 61
    assert process.crashed() <= 0.6
    assert process.restarts == 13 and process.failures == 1


def test_a_child_is_the_leader_of_its_own_session_and_writes_private_files(tmp_path: Path) -> None:
    script = "import os; open('made', 'w').close(); print(os.getsid(0) == os.getpgid(0) == os.getpid(), flush=True)"
    process = made(tmp_path, script)
    process.start()
    assert process.popen and process.popen.stdout
    lines = Lines(process.popen.stdout.fileno())
    assert eventually(lambda: lines.read()[0]) == ["True"]
    eventually(process.ended)
    process.popen.stdout.close()
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_a_second_signal_comes_before_the_kill(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGQUIT, lambda *_: sys.exit(7))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    process = made(tmp_path, script, Kind(order=1, grace=0.1, escalate=signal.SIGQUIT), log=tmp_path / "log")
    process.start()
    eventually((tmp_path / "ready").exists)
    process.ask_to_stop()

    def down() -> bool:
        process.press(hurried=False)
        return process.ended()

    eventually(down)
    assert process.how_it_ended() == "exited with status 7"


@pytest.mark.parametrize(
    ("script", "words"),
    [("raise SystemExit(3)", "exited with status 3"), ("import os; os.abort()", "was killed by SIGABRT")],
)
def test_the_end_is_told_in_words(tmp_path: Path, script: str, words: str) -> None:
    process = made(tmp_path, script, log=tmp_path / "log")
    process.start()
    eventually(process.ended)
    assert process.how_it_ended() == words


def test_a_program_that_does_not_exist_has_not_started(tmp_path: Path) -> None:
    process = Process(Program(name="it", argv=["/no/such"], kind=Kind(order=1), env={}, cwd=tmp_path))
    with pytest.raises(OSError, match="/no/such"):
        process.start()
    assert process.pid is None and not process.ended()
    process.ask_to_stop()
    assert process.state is State.STOPPED


def test_lines_come_whole_and_a_last_one_without_its_end_comes_too() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines = Lines(reader)
    assert lines.read() == ([], False)
    os.write(writer, b'{"event": "a"}\nhalf')
    assert lines.read() == (['{"event": "a"}'], False)
    os.write(writer, b" and half\xff\r\nrest")
    assert lines.read() == (["half and half\ufffd"], False)
    os.close(writer)
    assert lines.read() == (["rest"], True)
    os.close(reader)


def test_the_end_of_a_log_is_for_error_messages(tmp_path: Path) -> None:
    assert processes.last_lines(tmp_path / "nothing") == ""
    (tmp_path / "log").write_text("".join(f"line {n}\n" for n in range(1000)))
    assert processes.last_lines(tmp_path / "log") == "  line 997\n  line 998\n  line 999"


def test_processes_are_found_by_name_and_mark_with_and_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_tasks.stack import processes as looking

    with subprocess.Popen(["sleep", "31.4159"]) as sleeper:
        eventually(lambda: looking.find("sleep", "31.4159") == [sleeper.pid])
        monkeypatch.setattr(looking, "PROC", Path("/no/proc"))
        assert looking.find("sleep", "31.4159") == [sleeper.pid]
        sleeper.kill()
