"""Interactive messages that show products of a catalog."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.parts import (
    MAX_SECTIONS,
    TEXT_HEADER,
    BodySchema,
    FooterSchema,
    Interactive,
    many,
    titled,
)
from crm_tasks.messages.contents.shapes import ByType, only, text

MAX_PRODUCTS = 30


class ProductActionSchema(ma.Schema):
    """The product."""

    catalog_id = text(255, required=True)
    product_retailer_id = text(255, required=True)


class ProductSchema(Interactive):
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
    product_items = many(ProductItemSchema, MAX_PRODUCTS, "products")


class ProductListActionSchema(ma.Schema):
    """The products."""

    catalog_id = text(255, required=True)
    sections = many(ProductSectionSchema, MAX_SECTIONS, "sections")

    @ma.validates_schema
    def _products(self, data: dict[str, Any], **_: Any) -> None:
        count = sum(len(section["product_items"]) for section in data["sections"])
        if count > MAX_PRODUCTS:
            raise ma.ValidationError(
                f"All sections together may have {MAX_PRODUCTS} products; there are {count}.", "sections"
            )
        titled(data["sections"])


class ProductListSchema(Interactive):
    """Several products of a catalog."""

    type = only("product_list")
    header = ByType(TEXT_HEADER, required=True)
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


class CatalogSchema(Interactive):
    """A button that opens the whole catalog."""

    type = only("catalog_message")
    body = ma.fields.Nested(BodySchema, required=True)
    footer = ma.fields.Nested(FooterSchema)
    action = ma.fields.Nested(CatalogActionSchema, required=True)
