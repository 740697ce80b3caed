"""`python -m crm_tasks worker …`, `… beat …`: exactly `celery -A crm_tasks worker …`, 13 MB smaller per process.

Celery's command line loads an interactive shell and every plugin, Flower's web server among them, whatever it is
told to do. The Procfile starts its processes this way; by hand and on other hosts `celery -A crm_tasks` does the same.
"""

import sys
from types import ModuleType

import click_plugins


def main() -> None:
    """Run Celery's command line with our app, without its shell and its plugins."""
    shell = ModuleType("click_repl")
    shell.register_repl = lambda group: None  # type: ignore[attr-defined]
    sys.modules["click_repl"] = shell
    click_plugins.with_plugins = lambda plugins: lambda group: group
    from celery.bin.celery import celery

    celery.main(args=["-q", "-A", "crm_tasks", *sys.argv[1:]], prog_name="python -m crm_tasks")


if __name__ == "__main__":
    main()
