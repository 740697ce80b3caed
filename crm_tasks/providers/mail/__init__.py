"""E-mail: making a message (`compose`, `render`, `plain`), handing it on (`smtp`, `gateway`), reading what comes back
(`dsn`), what reply codes mean (`codes`), and the link by which a person leaves (`unsubscribe`)."""

from crm_tasks.providers.mail import channel
from crm_tasks.providers.provider import Need, Provider

_SENDER = (
    Need("from_address", "The address that messages come from."),
    Need("from_name", "The name beside it.", required=False),
    Need("reply_to", "Where answers go, if not there.", required=False),
    Need("callback_secret", "What callbacks and bounces are signed with.", secret=True, required=False),
)
SMTP = Provider(
    kind="smtp",
    medium="email",
    reaches=("email",),
    types=("email",),
    needs=(
        Need("host", "The mail server."),
        Need("port", "Its port: 587 for STARTTLS, 465 for TLS, 25 for none.", required=False),
        Need("security", "`starttls`, `tls` or `none`.", default="starttls"),
        Need("user", "The name to log in with.", required=False),
        Need("password", "The password to it.", secret=True, required=False),
        Need("cafile", "A file of certificates to trust beside the system's.", required=False),
        Need("return_path", "Where bounces go; the message's id is put behind a plus.", required=False),
        *_SENDER,
    ),
    send=channel.by_smtp,
    check=channel.check_smtp,
    verify=channel.verify,
    parse=channel.parse,
    task="email.send",
)
EMAIL_API = Provider(
    kind="email_api",
    medium="email",
    reaches=("email",),
    types=("email",),
    needs=(
        Need("access_token", "The bearer token.", secret=True, required=False),
        Need("idempotent", "`true` if it knows Idempotency-Key: no answer is then asked again.", default="false"),
        *_SENDER,
    ),
    send=channel.by_gateway,
    verify=channel.verify,
    parse=channel.parse,
    task="email.send",
)
