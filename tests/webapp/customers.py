"""Customers of a business of whom much is known, for who looks at the pages about them."""

import io
import uuid

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import AttributeType, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.types import new_id
from crm_tasks.imports import preview
from crm_tasks.imports import service as imports
from crm_tasks.imports.models import Duplicates
from tests import payloads
from tests.campaigns.audience import attribute
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.imports.messy import messy
from tests.messages.apply import hear
from tests.webhooks.hooks import run_one


def customers(demo: Demo) -> dict[str, str]:
    """Make them, and return the pages about them."""
    contact_id = known(demo)
    return {
        "contacts": "/contacts",
        "contact": f"/contacts/{contact_id}",
        "contact form": f"/contacts/{contact_id}/edit",
        "imports": "/imports",
        "import": f"/imports/{messy_import(demo)}",
        "import form": "/imports/new",
    }


def messy_import(demo: Demo) -> uuid.UUID:
    """Import a file some rows of which are refused."""
    taken, found = preview.take(io.BytesIO(messy(200, "skip")[0].encode()), import_id := new_id())
    how = {"mapping": None, "region": "BR", "tags": ("fair",), "duplicates": Duplicates.SKIP, "filename": "messy.csv"}
    new = imports.NewImport(id=import_id, taken=taken, layout=found, actor="ann", **how)  # type: ignore[arg-type]
    with db.transaction() as session:
        imports.accept(session, demo.workspace_id, new)
        job_id = imports.get(session, demo.workspace_id, import_id).job_id
    assert job_id is not None
    run_one(job_id, "imports")
    return import_id


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
