"""The link by which a person leaves a list. Its token alone says who, of which business, and what kind of mail.

The token is encrypted, not just signed: addresses have no business in the logs of proxies.
"""

import uuid
from dataclasses import dataclass

from crm_tasks.config import settings
from crm_tasks.core import crypto
from crm_tasks.core.errors import ConfigError

PATH = "/u/"
# What RFC 8058 has the reader's mail program post.
ONE_CLICK = ("List-Unsubscribe", "One-Click")
_VERSION = "u1"
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who wants no more of what."""

    workspace_id: uuid.UUID
    contact_id: uuid.UUID | None
    address: str
    category: str
    message_id: uuid.UUID | None = None


def url(leaving: Leaving) -> str:
    """Return the address of the page, and of the one-click POST."""
    config = settings()
    return f"{config.public_url.rstrip('/') or f'http://{config.host}:{config.port}'}{PATH}{token(leaving)}"


def token(leaving: Leaving) -> str:
    """Return what names it, to nobody but us."""
    ids = (leaving.workspace_id, leaving.contact_id, leaving.message_id)
    named = [each.hex if each else "" for each in ids]
    return crypto.encrypt([_VERSION, *named, leaving.address, leaving.category]).decode()


def read(given: str) -> Leaving | None:
    """Return what a token names, or None if it is not one of ours."""
    if not given or len(given) > _LONGEST or not given.isascii():
        return None
    try:
        said = crypto.decrypt(given.encode())
    except (ConfigError, ValueError, TypeError):
        return None
    if not isinstance(said, list) or len(said) != 6 or said[0] != _VERSION:
        return None  # something else that was encrypted with the same key
    workspace, contact, message, address, category = said[1:]
    return Leaving(
        uuid.UUID(workspace),
        uuid.UUID(contact) if contact else None,
        address,
        category,
        uuid.UUID(message) if message else None,
    )
