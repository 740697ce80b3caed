"""Customers of a business of whom much is known, for who looks at the pages about them."""

import io
import struct
import time
import uuid
import zlib

from crm_tasks.contacts import segments, suppression
from crm_tasks.contacts.models import AttributeType, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.types import new_id
from crm_tasks.imports import bulk, preview
from crm_tasks.imports import service as imports
from crm_tasks.imports.bulk_models import Action
from crm_tasks.imports.models import Duplicates
from tests import payloads
from tests.campaigns.audience import attribute, person
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.imports.messy import messy
from tests.media.samples import OGG, ours
from tests.messages.apply import accepted, hear
from tests.templates.fetched import approved
from tests.webhooks.hooks import run_one


def _picture(width: int = 240, height: int = 160) -> bytes:
    """Return a PNG that a browser can show."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes((90 + y % 100, 140, 200)) * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = _picture()


def customers(demo: Demo) -> dict[str, str]:
    """Make them, and return the pages about them."""
    contact_id = known(demo)
    segment_id = segmented(demo)
    return {
        "contacts": "/contacts",
        "contact": f"/contacts/{contact_id}",
        "contact form": f"/contacts/{contact_id}/edit",
        "bulk actions": "/bulk",
        "bulk action": f"/bulk/{many(demo, segment_id)}",
        "bulk form": f"/bulk/new?segment_id={segment_id}",
        "conversations": "/conversations",
        "conversation": f"/conversations/{talk(demo)}",
        "segments": "/segments",
        "segment": f"/segments/{segment_id}",
        "segment form": f"/segments/{segment_id}/edit",
        "imports": "/imports",
        "import": f"/imports/{messy_import(demo)}",
        "import form": "/imports/new",
    }


def talk(demo: Demo) -> uuid.UUID:
    """Let a customer and the business have talked: words, a picture, a voice, a template, what failed."""
    start = int(time.time()) - 5_000
    said = {"sender": "15550003333", "at": start}
    first, picture, voice = hear(
        demo,
        payloads.text(
            "Hello! Where is my parcel? The page https://example.com/a-rather-long-address says *nothing*.", **said
        ),
        payloads.message(type="image", image={"caption": "This one", "id": "1"}, **said),
        payloads.message(type="audio", audio={"id": "2"}, **said),
    )
    execute("UPDATE messages SET media_id = :m WHERE id = :id", m=ours(demo, PICTURE, "image/png"), id=picture.id)
    execute("UPDATE messages SET media_id = :m WHERE id = :id", m=ours(demo, OGG, "audio/ogg"), id=voice.id)
    thumb = {"message_id": picture.provider_id, "emoji": "👍"}
    hear(demo, payloads.message("15550003333", type="reaction", reaction=thumb, at=start + 1))
    for state in ("read", "delivered", "failed", "queued"):
        made = accepted(demo, payloads.wamid(state), to="+15550003333", body=f"We look into it ({state}).")
        error = '{"code": 131026, "title": "undeliverable"}' if state == "failed" else None
        execute("UPDATE messages SET state = :s, error = :e WHERE id = :id", s=state, e=error, id=made.id)
    approved(demo, "parcel_news")
    return first.conversation_id


def many(demo: Demo, segment_id: uuid.UUID) -> uuid.UUID:
    """Begin to tag all of a segment."""
    with db.transaction() as session:
        made = bulk.start(
            session,
            demo.workspace_id,
            Action.TAG,
            audience={"segment_id": segment_id},
            value={"tags": ["best"]},
            actor="ann",
        )
        return made.id


def segmented(demo: Demo) -> uuid.UUID:
    """Make a segment of two groups."""
    tags = [{"field": "tags", "op": "has", "value": each} for each in ("vip", "spring")]
    number = {"field": "attributes.orders", "op": "between", "value": [1, 20]}
    conditions = {"all": [{"any": tags}, {"all": [{"field": "created_at", "op": "within_days", "value": 30}, number]}]}
    with db.transaction() as session:
        return segments.create(session, demo.workspace_id, name="Best of spring", conditions=conditions).id


def messy_import(demo: Demo) -> uuid.UUID:
    """Import a file some rows of which are refused."""
    import_id = begun_import(demo, messy(200, "skip")[0], "messy.csv")
    with db.transaction() as session:
        job_id = imports.get(session, demo.workspace_id, import_id).job_id
    assert job_id is not None
    run_one(job_id, "imports")
    return import_id


def begun_import(demo: Demo, text: str = "name,phone\nZoe,+14155550123\n", filename: str = "Other.csv") -> uuid.UUID:
    """Begin an import."""
    taken, found = preview.take(io.BytesIO(text.encode()), import_id := new_id())
    new = imports.NewImport(
        id=import_id,
        taken=taken,
        layout=found,
        mapping=None,
        region="BR",
        tags=("fair",),
        duplicates=Duplicates.SKIP,
        filename=filename,
        actor="ann",
    )
    with db.transaction() as session:
        return imports.accept(session, demo.workspace_id, new).id


def known(demo: Demo) -> uuid.UUID:
    """Make a contact of whom much is known."""
    (told,) = hear(demo, payloads.text("Where is my parcel?"))
    contact_id = told.contact_id
    attribute(demo, "city")
    attribute(demo, "orders", AttributeType.NUMBER)
    kept = '{"city": "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", "orders": 12}'
    execute("UPDATE contacts SET attributes = :kept, tags = '{spring,vip}' WHERE id = :id", kept=kept, id=contact_id)
    with db.transaction() as session:
        said = {"scope": SuppressionScope.MARKETING, "reason": "keyword", "actor": "customer"}
        proof = {"message_id": str(told.id), "text": "STOP"}
        suppression.suppress_contact(session, demo.workspace_id, contact_id, medium="whatsapp", evidence=proof, **said)
    return contact_id


def customers_of(demo: Demo) -> dict[str, dict[str, str]]:
    """Make one of everything about customers, and return the values of each page that is about one."""
    contact_id = str(person(demo, 1, name="Otherwise"))
    attribute(demo, "orders", AttributeType.NUMBER)
    segment_id, import_id = str(segmented(demo)), str(begun_import(demo))
    bulk_id = str(many(demo, uuid.UUID(segment_id)))
    conversation_id, media_id = str(talk(demo)), str(ours(demo))
    return {
        **{page: {"conversation_id": conversation_id} for page in ("conversation", "conversation_part", "reply")},
        **{page: {"conversation_id": conversation_id} for page in ("earlier_messages", "assign_conversation")},
        **{page: {"conversation_id": conversation_id} for page in ("template_fields", "send_template")},
        **{page: {"bulk_id": bulk_id} for page in ("bulk_action", "bulk_part", "cancel_bulk")},
        "conversation_action": {"conversation_id": conversation_id, "action": "take-over"},
        **{page: {"media_id": media_id} for page in ("media", "fetch_media")},
        **{page: {"contact_id": contact_id} for page in ("contact", "edit_contact", "change_contact")},
        **{page: {"contact_id": contact_id} for page in ("note_consent", "erase")},
        **{page: {"segment_id": segment_id} for page in ("segment", "segment_part", "edit_segment")},
        **{page: {"segment_id": segment_id} for page in ("change_segment", "delete_segment")},
        **{page: {"import_id": import_id} for page in ("one_import", "import_part", "import_rejects")},
        **{page: {"import_id": import_id} for page in ("cancel_import", "undo_import")},
    }
