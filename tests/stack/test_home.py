"""CRM_HOME: private, its values made once, one owner at a time."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import home as homes


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_everything_is_private_even_where_it_was_not(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        (tmp_path / "home").mkdir(mode=0o755)
        homes.make(tmp_path / "home")
        homes.generate(tmp_path / "home")
        homes.Lock(tmp_path / "home").release()
    finally:
        os.umask(old)
    assert mode(tmp_path / "home") == mode(tmp_path / "home/log") == 0o700
    assert mode(tmp_path / "home/env") == mode(tmp_path / "home/lock") == 0o600


def test_values_are_made_once_and_kept_for_ever(home: Path) -> None:
    first = homes.generate(home)
    assert first.keys() == homes.GENERATED.keys()
    assert len(set(first.values())) == len(first)
    mine = {"MINE": "kept", "HARD": 'it\'s a #hash \\ and "all"', "BLANK": ""}
    homes.save(home, first | mine)
    assert homes.generate(home) == first | mine


def test_a_value_that_is_missing_is_made_without_touching_the_others(home: Path) -> None:
    first = homes.generate(home)
    homes.save(home, {key: value for key, value in first.items() if key != "SANDBOX_WABA_ID"})
    second = homes.generate(home)
    assert second["SANDBOX_WABA_ID"] and second | {"SANDBOX_WABA_ID": ""} == first | {"SANDBOX_WABA_ID": ""}


def test_an_older_file_that_others_could_read_does_not_give_its_mode_to_the_new_one(home: Path) -> None:
    (home / "env.new").touch(0o666)
    homes.write(home / "env", "A=1\n")
    assert mode(home / "env") == 0o600
    assert homes.values(home) == {"A": "1"}


def test_a_second_owner_is_told_who_the_first_is(home: Path) -> None:
    lock = homes.Lock(home)
    lock.announce("http://127.0.0.1:8000")
    assert homes.is_locked(home)
    with pytest.raises(homes.AlreadyRunning, match=rf"already running as process {os.getpid()}: http://127.0.0.1:8000"):
        homes.Lock(home)
    lock.release()
    assert not homes.is_locked(home)
    homes.Lock(home).release()


def test_nobody_holds_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    assert not homes.is_locked(tmp_path / "nothing")


def test_a_reader_that_looks_does_not_keep_an_owner_out(home: Path) -> None:
    (home / "lock").touch()
    with (home / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        homes.Lock(home).release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of somebody else")
def test_the_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to user id 65534, not to you"):
        homes.make(tmp_path / "home")


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be made \(Not a directory\): set CRM_HOME"):
        homes.make(tmp_path / "file" / "home")


def test_two_directories_have_two_tokens(home: Path, tmp_path: Path) -> None:
    homes.make(tmp_path / "other")
    assert homes.token(home) != homes.token(tmp_path / "other")
    assert homes.token(home) == homes.token(home)
