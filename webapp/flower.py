"""Where Flower is: on the host by which the person came, at its own port and behind its own password."""

from flask import request

from crm_tasks.config import settings


def url(path: str = "") -> str:
    """Return the address of Flower, or of a page of it."""
    host = request.host.rsplit(":", 1)[0]
    return f"http://{host}:{settings().flower_port}/{path}"
