"""Media of the Graph API: upload, metadata, delete."""

from dataclasses import asdict

import orjson

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.graph.call import Call
from sandbox.graph.shape import missing
from sandbox.media import Media, link
from sandbox.media_rules import MOST


def upload(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/media`."""
    number = call.number(call.parts[0])
    form, file = call.request.form, call.request.files.get("file")
    if str(form.get("messaging_product", "")).lower() != "whatsapp":
        raise missing("messaging_product")
    if file is None:
        raise missing("file")
    mime_type = (form.get("type") or file.mimetype or "").strip()
    if "/" not in mime_type:
        mime_type = file.mimetype or "application/octet-stream"
    data = file.read()
    call.intake.body = orjson.dumps(
        {"file": file.filename, "size": len(data), "type": mime_type, "messaging_product": "whatsapp"}
    )
    _check(mime_type, len(data))
    world = call.world
    medium = world.media.save(data, waba_id=number.waba_id, mime_type=mime_type, filename=file.filename, by="business")
    world.commit({"k": "media", "media": asdict(medium)})
    return {"id": medium.id}


def metadata(call: Call) -> Json:
    """Answer `GET /{media_id}`."""
    medium = _medium(call)
    wanted = call.query("phone_number_id")
    if wanted is not None and call.number(wanted).waba_id != medium.waba_id:
        raise GraphError(100, message="(#100) The media does not belong to this phone number.", subcode=33)
    number = next(number for number in call.owned() if number.waba_id == medium.waba_id)
    return {
        "messaging_product": "whatsapp",
        "url": link(medium, number, call.request.host_url.rstrip("/")),
        "mime_type": medium.mime_type,
        "sha256": medium.sha256,
        "file_size": medium.size,
        "id": medium.id,
    }


def delete(call: Call) -> Json:
    """Answer `DELETE /{media_id}`."""
    call.world.commit({"k": "media_gone", "id": _medium(call).id})
    return {"success": True}


def _medium(call: Call) -> Media:
    medium = call.world.media.get(call.parts[0])
    assert medium is not None
    return medium


def _check(mime_type: str, size: int) -> None:
    bare = mime_type.partition(";")[0].strip().lower()
    most = MOST.get(bare)
    if most is None:
        raise GraphError(131053, f"Param file must be a file with one of the supported types, not {bare}.")
    if not size:
        raise GraphError(131053, "The file is empty.")
    if size > most:
        raise GraphError(131053, f"The file is too large: {size} bytes, at most {most} for {bare}.")
