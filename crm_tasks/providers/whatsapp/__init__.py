"""The WhatsApp Cloud API: what it sends us (`webhook`), what we send it (`client`), what its errors mean (`errors`)."""

from crm_tasks.providers.provider import Need, Provider
from crm_tasks.providers.whatsapp import client

# The types that the Cloud API takes; `to`, reply context and limits are in Meta's reference of messages.
TYPES = (
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",
    "template",
    "interactive",
)

PROVIDER = Provider(
    kind="whatsapp",
    medium="whatsapp",
    reaches=("phone", "wa_id", "bsuid", "parent_bsuid"),
    types=TYPES,
    needs=(
        Need("phone_number_id", "The id of the business number."),
        Need("waba_id", "The id of the WhatsApp business account.", required=False),
        Need("access_token", "The access token of a system user.", secret=True),
        Need("app_secret", "The secret of the app that receives the webhooks.", secret=True),
        Need("verify_token", "The word that Meta repeats when it verifies the webhook.", secret=True),
    ),
    send=client.send,
    send_async=client.send_async,
    check=client.check,
    mark_read=client.mark_read,
    # Meta, "Throughput": 80 messages a second, in and out together, until the number is raised.
    per_second=80.0,
    # Meta, "About the platform": one message to the same user every 6 seconds, up to 45 at once.
    pair=(6.0, 45),
    too_fast=frozenset({-429, 130429}),
    window=True,
)
