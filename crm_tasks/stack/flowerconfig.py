"""Flower's configuration, read by `celery -A crm_tasks flower --conf=crm_tasks/stack/flowerconfig.py`.

Its one rule: Flower is never open. It shows arguments and shuts down workers, so without a password it does not
start. Every name below is one of Flower's options; a command line argument still wins over it.
"""

import pickle
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from flower.events import Events, EventsState
from flower.views.monitor import Metrics
from tornado.web import authenticated

from crm_tasks.celery import app
from crm_tasks.config import settings

_config = settings()
if not _config.flower_password:
    raise SystemExit("Flower is never open: set FLOWER_PASSWORD (`crm up` generates one in CRM_HOME/env).")

# Flower looks at events; it needs no code of any task, nor a database: 28 MB less.
app.conf.include = ()

address = _config.host
port = _config.flower_port
basic_auth = [f"{_config.flower_user}:{_config.flower_password}"]

# Flower gives this page to anybody, whatever basic_auth says.
Metrics.get = authenticated(Metrics.get)


def _save_state(events: Events) -> None:
    """Write what it knows to one file, at once: Flower's own three files can be cut apart by a kill between two."""
    file = Path(events.db)
    written = file.with_suffix(".tmp")
    written.write_bytes(pickle.dumps((events.state, dict(events.state.counter))))
    written.replace(file)


def _load_state(events: Events) -> EventsState | None:
    file = Path(events.db)
    try:
        state, counter = pickle.loads(file.read_bytes())  # noqa: S301 - a file of our own
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a file of another version: whatever its pickle raises
        getLogger("flower.events").error("Cannot read %s, starting without it: %r", file, error)
        return None
    state.counter.update(counter)
    return state


_changed: Any = Events
_changed.save_state, _changed.load_state = _save_state, _load_state

# What it knows of tasks survives a restart. It writes all of it each time, and answers nobody meanwhile: hence
# few tasks, a short interval, and at most that much lost by a kill -9.
persistent = True
db = str(_config.home / "flower")
state_save_interval = 5_000  # milliseconds
max_tasks = 10_000

# Workers that are gone stay visible for an hour.
purge_offline_workers = 3600  # seconds
natural_time = True
tasks_columns = "name,uuid,state,worker,received,started,runtime"
inspect_timeout = 2_000.0  # milliseconds
# At the start no worker is there to answer; one that stays away is seen on the page.
getLogger("flower.inspector").setLevel(ERROR)
