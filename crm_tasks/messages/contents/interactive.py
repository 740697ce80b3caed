"""Interactive messages: what each of them must hold, and which header it may have."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.parts import (
    ANY_HEADER,
    MAX_SECTIONS,
    TEXT_HEADER,
    BodySchema,
    FooterSchema,
    Interactive,
    ListBodySchema,
    many,
    titled,
)
from crm_tasks.messages.contents.products import CatalogSchema, ProductListSchema, ProductSchema
from crm_tasks.messages.contents.shapes import ByType, link, only, repeated, text

MAX_BUTTONS, MAX_ROWS = 3, 10


# --- reply buttons -----------------------------------------------------------------------------------------------


class ReplySchema(ma.Schema):
    """What a button says, and the id that comes back when it is tapped."""

    id = text(256, required=True)
    title = text(20, required=True)


class ReplyButtonSchema(ma.Schema):
    """A button."""

    type = only("reply")
    reply = ma.fields.Nested(ReplySchema, required=True)


class ButtonActionSchema(ma.Schema):
    """The buttons."""

    buttons = many(ReplyButtonSchema, MAX_BUTTONS, "buttons")

    @ma.validates_schema
    def _distinct(self, data: dict[str, Any], **_: Any) -> None:
        for name in ("title", "id"):
            twice = repeated([button["reply"][name] for button in data["buttons"]])
            if twice is not None:
                raise ma.ValidationError(f"Two buttons have the {name} {twice!r}: make each unique.", "buttons")


class ButtonsSchema(Interactive):
    """Up to three buttons to reply with."""

    type = only("button")
    header = ByType(ANY_HEADER)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(ButtonActionSchema, required=True)


# --- list --------------------------------------------------------------------------------------------------------


class RowSchema(ma.Schema):
    """A row to choose."""

    id = text(200, required=True)
    title = text(24, required=True)
    description = text(72, least=0)


class SectionSchema(ma.Schema):
    """Rows that belong together."""

    title = text(24)
    rows = many(RowSchema, MAX_ROWS, "rows")


class ListActionSchema(ma.Schema):
    """The button that opens the list, and the rows."""

    button = text(20, required=True)
    sections = many(SectionSchema, MAX_SECTIONS, "sections")

    @ma.validates_schema
    def _rows(self, data: dict[str, Any], **_: Any) -> None:
        ids = [row["id"] for section in data["sections"] for row in section["rows"]]
        if len(ids) > MAX_ROWS:
            raise ma.ValidationError(
                f"All sections together may have {MAX_ROWS} rows; there are {len(ids)}.", "sections"
            )
        if (twice := repeated(ids)) is not None:
            raise ma.ValidationError(f"Two rows have the id {twice!r}: make each unique.", "sections")
        titled(data["sections"])


class ListSchema(Interactive):
    """A list of rows, of which one can be chosen."""

    type = only("list")
    header = ByType(TEXT_HEADER)
    body = ma.fields.Nested(ListBodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(ListActionSchema, required=True)


# --- a link, a place, a flow -------------------------------------------------------------------------------------


class CtaUrlParametersSchema(ma.Schema):
    """What the button says and opens."""

    display_text = text(20, required=True)
    url = link(required=True)


class CtaUrlActionSchema(ma.Schema):
    """The button."""

    name = only("cta_url")
    parameters = ma.fields.Nested(CtaUrlParametersSchema, required=True)


class CtaUrlSchema(Interactive):
    """A button that opens a link."""

    type = only("cta_url")
    header = ByType(ANY_HEADER)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(CtaUrlActionSchema, required=True)


class SendLocationActionSchema(ma.Schema):
    """Asks for the place."""

    name = only("send_location")


class LocationRequestSchema(Interactive):
    """A button with which the customer says where he is."""

    type = only("location_request_message")
    body = ma.fields.Nested(BodySchema, required=True)
    action = ma.fields.Nested(SendLocationActionSchema, required=True)


class FlowPayloadSchema(ma.Schema):
    """Where a flow begins, and with what."""

    screen = text(255, required=True)
    data = ma.fields.Dict()


class FlowParametersSchema(ma.Schema):
    """Which flow, and how it begins."""

    flow_message_version = only("3")
    flow_cta = text(30, required=True)
    flow_id = text(255)
    flow_name = text(255)
    flow_token = text(1024)
    mode = ma.fields.String(validate=ma.validate.OneOf(("draft", "published"), error="Use one of: draft, published."))
    flow_action = ma.fields.String(
        validate=ma.validate.OneOf(("navigate", "data_exchange"), error="Use one of: navigate, data_exchange.")
    )
    flow_action_payload = ma.fields.Nested(FlowPayloadSchema)

    @ma.validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        if ("flow_id" in data) == ("flow_name" in data):
            raise ma.ValidationError("Give exactly one of flow_id and flow_name.")
        if "flow_action_payload" in data and data.get("flow_action") == "data_exchange":
            raise ma.ValidationError(
                "Leave this out: with data_exchange your endpoint says where the flow begins.", "flow_action_payload"
            )


class FlowActionSchema(ma.Schema):
    """The flow."""

    name = only("flow")
    parameters = ma.fields.Nested(FlowParametersSchema, required=True)


class FlowSchema(Interactive):
    """A button that opens a flow: forms inside WhatsApp."""

    type = only("flow")
    header = ByType(ANY_HEADER)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(FlowActionSchema, required=True)


INTERACTIVE: dict[str, type[ma.Schema]] = {
    "button": ButtonsSchema,
    "list": ListSchema,
    "cta_url": CtaUrlSchema,
    "flow": FlowSchema,
    "product": ProductSchema,
    "product_list": ProductListSchema,
    "catalog_message": CatalogSchema,
    "location_request_message": LocationRequestSchema,
}
