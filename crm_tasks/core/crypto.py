"""Encryption of credentials at rest: Fernet, the first key encrypts, all keys decrypt, so that keys can be changed."""

import hashlib
import hmac
import os
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, TypeDecorator

from crm_tasks.config import settings
from crm_tasks.core.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


def _fernet() -> "MultiFernet":
    # Loaded at first use: 6 MB that most processes never need.
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(key) for key in settings().encryption_keys])
    except ValueError:
        raise ConfigError(
            "ENCRYPTION_KEYS: each must be 32 bytes in URL-safe base64. `crm key encryption` makes one."
        ) from None


def encrypt(value: Any) -> bytes:
    """Return a JSON value, encrypted with the first key."""
    return _fernet().encrypt(orjson.dumps(value))


def decrypt(token: bytes) -> Any:
    """Return the JSON value inside.

    Raises:
        ConfigError: none of the keys opens it.
    """
    from cryptography.fernet import InvalidToken

    try:
        return orjson.loads(_fernet().decrypt(bytes(token)))
    except InvalidToken:
        raise ConfigError(
            "Credentials cannot be decrypted: the key that encrypted them is not among ENCRYPTION_KEYS."
        ) from None


def rotated(token: bytes) -> bytes:
    """Return the same content encrypted with the first key."""
    return _fernet().rotate(bytes(token))


def new_key() -> str:
    """Return a new encryption key."""
    return urlsafe_b64encode(os.urandom(32)).decode()


def digest(secret: str) -> bytes:
    """Return what is stored of an API key: enough to recognise it, not to use it.

    A plain keyed hash is right for a secret of full entropy; argon2 would cost 90 ms a request.
    """
    return hmac.digest(settings().secret_key.encode(), secret.encode(), "sha256")


def secret_fingerprint(secret: str) -> str:
    """Return a short name of a secret, to say which one signed without saying the secret."""
    return hashlib.sha256(b"crm:" + secret.encode()).hexdigest()[:16]


class Encrypted(TypeDecorator[Any]):
    """A JSON column that the database only ever sees encrypted."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Encrypt on the way in."""
        return None if value is None else encrypt(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """Decrypt on the way out."""
        return None if value is None else decrypt(value)

    def coerce_compared_value(self, op: Any, value: Any) -> sa.types.TypeEngine[Any]:
        """Ciphertexts differ every time: comparing is a mistake."""
        return self
