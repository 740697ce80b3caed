"""The kinds of channel there are. A new provider is one file and one line here."""

from crm_tasks.core.errors import FieldError, Invalid, did_you_mean
from crm_tasks.providers import mail, sms, twilio, whatsapp
from crm_tasks.providers.provider import Provider

ALL = (
    whatsapp.PROVIDER,
    sms.PROVIDER,
    twilio.PROVIDER,
    mail.SMTP,
    mail.EMAIL_API,
)
PROVIDERS: dict[str, Provider] = {provider.kind: provider for provider in ALL}


def provider(kind: str) -> Provider:
    """Return the provider of a kind of channel.

    Raises:
        Invalid: there is no such kind.
    """
    try:
        return PROVIDERS[kind]
    except KeyError:
        text = f"There is no kind of channel {kind!r}.{did_you_mean(kind, PROVIDERS)}"
        raise Invalid(text, fields=[FieldError("kind", f"Use one of: {', '.join(PROVIDERS)}.")]) from None
