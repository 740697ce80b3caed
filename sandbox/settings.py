"""The sandbox's settings. The only reader of the environment; every value has a default fit for development."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.numbers import Number

PHONE_NUMBER_ID = "106540352242922"
WABA_ID = "102290129340398"
DISPLAY_PHONE_NUMBER = "+1 555 078 3881"
ACCESS_TOKEN = "sandbox-access-token"  # noqa: S105
APP_SECRET = "sandbox-app-secret"  # noqa: S105
VERIFY_TOKEN = "sandbox-verify-token"  # noqa: S105
WEBHOOK_URL = "http://127.0.0.1:8000/webhooks/whatsapp"
SMTP_HOST = "127.0.0.1"
OFF = ("off", "no", "false", "0")


class SettingsError(Exception):
    """A variable of the environment cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the sandbox listens and keeps its state, and the one number it starts with."""

    host: str
    port: int
    smtp_port: int
    threads: int
    home: Path
    journal: bool
    verify_token: str = field(repr=False)
    number: Number = field(repr=False)

    @property
    def folder(self) -> Path:
        """The directory of the journal and the media files."""
        return self.home / "sandbox"

    @property
    def crm_url(self) -> str:
        """The origin of the CRM, taken from its webhook address."""
        parts = urlsplit(self.number.webhook_url)
        return f"{parts.scheme}://{parts.netloc}"


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: names the variable that cannot be used.
    """
    env = os.environ
    webhook_url = env.get("SANDBOX_WEBHOOK_URL") or WEBHOOK_URL
    if urlsplit(webhook_url).scheme not in ("http", "https"):
        raise SettingsError("SANDBOX_WEBHOOK_URL: must begin with http:// or https://.")
    return Settings(
        host=env.get("SANDBOX_HOST") or "127.0.0.1",
        port=_whole("SANDBOX_PORT", 8900, 65535),
        smtp_port=_whole("SANDBOX_SMTP_PORT", 8925, 65535),
        threads=_whole("SANDBOX_THREADS", 32, 512),
        home=Path(env.get("CRM_HOME") or ".crm").expanduser().resolve(),
        journal=(env.get("SANDBOX_JOURNAL") or "on").lower() not in OFF,
        verify_token=env.get("SANDBOX_VERIFY_TOKEN") or VERIFY_TOKEN,
        number=Number(
            phone_number_id=env.get("SANDBOX_PHONE_NUMBER_ID") or PHONE_NUMBER_ID,
            waba_id=env.get("SANDBOX_WABA_ID") or WABA_ID,
            display_phone_number=env.get("SANDBOX_DISPLAY_PHONE_NUMBER") or DISPLAY_PHONE_NUMBER,
            verified_name="Sandbox Shop",
            access_token=env.get("SANDBOX_ACCESS_TOKEN") or ACCESS_TOKEN,
            app_secret=env.get("SANDBOX_APP_SECRET") or APP_SECRET,
            webhook_url=webhook_url,
        ),
    )


def _whole(name: str, default: int, most: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise SettingsError(f"{name}: must be a whole number from 1 to {most}.")
    return int(text)
