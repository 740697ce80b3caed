"""What `crm up` prints when all is up: where everything is and, the first time, the generated secrets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crm_tasks.config import settings
from crm_tasks.stack import environment

FILE = "first-run.json"
_DONE = ".announced"


def announce(say: Callable[[str], None]) -> None:
    """Print where everything is; the secrets only at the very first start."""
    config = settings()
    known = read(config.home)
    say("")
    say(f"  Web and API    {environment.web_url(config)}/")
    if config.uses_sandbox:
        say(f"  Be a customer  http://127.0.0.1:{config.sandbox_port}/")
    say(f"  Admin          {environment.web_url(config)}/admin/")
    say(f"  Flower         http://127.0.0.1:{config.flower_port}/")
    if known.get("admin_password") and not (config.home / _DONE).exists():
        say("")
        say(f"  Admin login    {known['admin_email']}  {known['admin_password']}")
        say(f"  Flower login   {known['flower_user']}  {known['flower_password']}")
        say(f"  API key        {known['api_key']}")
        say(f"  (shown this once; also in {config.home / FILE})")
        (config.home / _DONE).touch(mode=0o600)
    say("")


def read(home: Path) -> dict[str, Any]:
    """Return what the first start left for scripts."""
    path = home / FILE
    return json.loads(path.read_text()) if path.exists() else {}
