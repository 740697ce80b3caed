"""Flower's configuration, read by `celery -A crm_tasks flower --conf=crm_tasks/stack/flowerconfig.py`.

Its one rule: Flower is never open. It shows arguments and shuts down workers, so without a password it does not
start. Every name below is one of Flower's options; a command line argument still wins over it.
"""

from logging import ERROR, getLogger

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
