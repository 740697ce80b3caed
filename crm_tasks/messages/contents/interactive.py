"""Interactive messages: what each of them must hold, and which header it may have."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.media import HeaderDocumentSchema, HeaderMediaSchema
from crm_tasks.messages.contents.shapes import ByType, left_out, link, only, repeated, text

MAX_BODY, MAX_LIST_BODY, MAX_FOOTER, MAX_HEADER = 1024, 4096, 60, 60
MAX_BUTTONS, MAX_SECTIONS, MAX_ROWS, MAX_PRODUCTS = 3, 10, 10, 30
_PARTS = ("header", "body", "footer")


def _many(shape: type[ma.Schema], most: int, what: str) -> ma.fields.List:
    limit = ma.validate.Length(1, most, error=f"Give 1 to {most} {what}.")
    return ma.fields.List(ma.fields.Nested(shape), required=True, validate=limit)


# --- header, body, footer ----------------------------------------------------------------------------------------


class TextHeaderSchema(ma.Schema):
    """Words above a message."""

    type = only("text")
    text = text(MAX_HEADER, required=True)


class ImageHeaderSchema(ma.Schema):
    """A picture above a message."""

    type = only("image")
    image = ma.fields.Nested(HeaderMediaSchema, required=True)


class VideoHeaderSchema(ma.Schema):
    """A video above a message."""

    type = only("video")
    video = ma.fields.Nested(HeaderMediaSchema, required=True)


class DocumentHeaderSchema(ma.Schema):
    """A document above a message."""

    type = only("document")
    document = ma.fields.Nested(HeaderDocumentSchema, required=True)


_TEXT_HEADER = {"text": TextHeaderSchema}
_ANY_HEADER = {
    **_TEXT_HEADER,
    "image": ImageHeaderSchema,
    "video": VideoHeaderSchema,
    "document": DocumentHeaderSchema,
}


class BodySchema(ma.Schema):
    """The words of a message."""

    text = text(MAX_BODY, required=True)


class ListBodySchema(ma.Schema):
    """The words of a list."""

    text = text(MAX_LIST_BODY, required=True)


class FooterSchema(ma.Schema):
    """Small print below a message."""

    text = text(MAX_FOOTER, required=True)


class _Interactive(ma.Schema):
    @ma.pre_load
    def _explain(self, data: Any, **_: Any) -> Any:
        for name in _PARTS:
            if name in data and name not in self.fields:
                raise left_out(name, f"Leave this out: an interactive message of type {data['type']} has no {name}.")
        return data


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

    buttons = _many(ReplyButtonSchema, MAX_BUTTONS, "buttons")

    @ma.validates_schema
    def _distinct(self, data: dict[str, Any], **_: Any) -> None:
        for name in ("title", "id"):
            twice = repeated([button["reply"][name] for button in data["buttons"]])
            if twice is not None:
                raise ma.ValidationError(f"Two buttons have the {name} {twice!r}: make each unique.", "buttons")


class ButtonsSchema(_Interactive):
    """Up to three buttons to reply with."""

    type = only("button")
    header = ByType(_ANY_HEADER)
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
    rows = _many(RowSchema, MAX_ROWS, "rows")


class ListActionSchema(ma.Schema):
    """The button that opens the list, and the rows."""

    button = text(20, required=True)
    sections = _many(SectionSchema, MAX_SECTIONS, "sections")

    @ma.validates_schema
    def _rows(self, data: dict[str, Any], **_: Any) -> None:
        ids = [row["id"] for section in data["sections"] for row in section["rows"]]
        if len(ids) > MAX_ROWS:
            raise ma.ValidationError(
                f"All sections together may have {MAX_ROWS} rows; there are {len(ids)}.", "sections"
            )
        if (twice := repeated(ids)) is not None:
            raise ma.ValidationError(f"Two rows have the id {twice!r}: make each unique.", "sections")
        _titled(data["sections"])


def _titled(sections: list[dict[str, Any]]) -> None:
    if len(sections) > 1 and not all(section.get("title") for section in sections):
        raise ma.ValidationError("With several sections each needs a title.", "sections")


class ListSchema(_Interactive):
    """A list of rows, of which one can be chosen."""

    type = only("list")
    header = ByType(_TEXT_HEADER)
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


class CtaUrlSchema(_Interactive):
    """A button that opens a link."""

    type = only("cta_url")
    header = ByType(_ANY_HEADER)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(CtaUrlActionSchema, required=True)


class SendLocationActionSchema(ma.Schema):
    """Asks for the place."""

    name = only("send_location")


class LocationRequestSchema(_Interactive):
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


class FlowSchema(_Interactive):
    """A button that opens a flow: forms inside WhatsApp."""

    type = only("flow")
    header = ByType(_ANY_HEADER)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(FlowActionSchema, required=True)


# --- products ----------------------------------------------------------------------------------------------------


class ProductActionSchema(ma.Schema):
    """The product."""

    catalog_id = text(255, required=True)
    product_retailer_id = text(255, required=True)


class ProductSchema(_Interactive):
    """One product of a catalog."""

    type = only("product")
    body = ma.fields.Nested(BodySchema)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(ProductActionSchema, required=True)


class ProductItemSchema(ma.Schema):
    """A product."""

    product_retailer_id = text(255, required=True)


class ProductSectionSchema(ma.Schema):
    """Products that belong together."""

    title = text(24)
    product_items = _many(ProductItemSchema, MAX_PRODUCTS, "products")


class ProductListActionSchema(ma.Schema):
    """The products."""

    catalog_id = text(255, required=True)
    sections = _many(ProductSectionSchema, MAX_SECTIONS, "sections")

    @ma.validates_schema
    def _products(self, data: dict[str, Any], **_: Any) -> None:
        count = sum(len(section["product_items"]) for section in data["sections"])
        if count > MAX_PRODUCTS:
            raise ma.ValidationError(
                f"All sections together may have {MAX_PRODUCTS} products; there are {count}.", "sections"
            )
        _titled(data["sections"])


class ProductListSchema(_Interactive):
    """Several products of a catalog."""

    type = only("product_list")
    header = ByType(_TEXT_HEADER, required=True)
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(ProductListActionSchema, required=True)


class CatalogParametersSchema(ma.Schema):
    """The product whose picture is shown."""

    thumbnail_product_retailer_id = text(255)


class CatalogActionSchema(ma.Schema):
    """Opens the catalog."""

    name = only("catalog_message")
    parameters = ma.fields.Nested(CatalogParametersSchema)


class CatalogSchema(_Interactive):
    """A button that opens the whole catalog."""

    type = only("catalog_message")
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(CatalogActionSchema, required=True)


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
