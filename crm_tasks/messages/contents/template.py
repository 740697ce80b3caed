"""Templates: their name, their language, and what is put into their places.

Whether a template has these places is known only from the template itself; here everything has its right shape.
"""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.basic import LocationSchema
from crm_tasks.messages.contents.media import HeaderDocumentSchema, HeaderMediaSchema
from crm_tasks.messages.contents.shapes import ByType, Shapes, only, text

MAX_NAME, MAX_PARAMETER, MAX_HEADER, MAX_PAYLOAD, MAX_COUPON = 512, 1024, 60, 256, 20
MAX_COMPONENTS = 20
_OTHERS = ("carousel", "limited_time_offer", "order_status", "tap_target_configuration", "call_permission_request")
_MIXED = "Give a parameter_name to all parameters, or to none."


class LanguageSchema(ma.Schema):
    """The language of a template."""

    code = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp(r"^[a-z]{2,3}(_[A-Za-z]{2,4})?$", error="Write a code such as en_US."),
        error_messages={"required": "Name the language, such as en_US."},
    )
    policy = ma.fields.String(validate=ma.validate.Equal("deterministic", error="Write deterministic, or nothing."))


# --- parameters --------------------------------------------------------------------------------------------------


def _name() -> ma.fields.String:
    return ma.fields.String(
        validate=ma.validate.Regexp(r"^[a-z0-9_]{1,255}$", error="The name of a parameter is of a-z, 0-9 and _.")
    )


class TextParameterSchema(ma.Schema):
    """Words."""

    type = only("text")
    text = text(MAX_PARAMETER, required=True)
    parameter_name = _name()


class HeaderTextParameterSchema(ma.Schema):
    """Words of a header."""

    type = only("text")
    text = text(MAX_HEADER, required=True)
    parameter_name = _name()


class CurrencySchema(ma.Schema):
    """An amount: `amount_1000` is a thousand times it."""

    fallback_value = text(MAX_PARAMETER, required=True)
    code = ma.fields.String(
        required=True, validate=ma.validate.Regexp(r"^[A-Z]{3}$", error="Write a currency such as USD.")
    )
    amount_1000 = ma.fields.Integer(required=True, strict=True)


class CurrencyParameterSchema(ma.Schema):
    """An amount of money."""

    type = only("currency")
    currency = ma.fields.Nested(CurrencySchema, required=True)
    parameter_name = _name()


class DateTimeSchema(ma.Schema):
    """A moment, as it is to be shown."""

    fallback_value = text(MAX_PARAMETER, required=True)


class DateTimeParameterSchema(ma.Schema):
    """A moment."""

    type = only("date_time")
    date_time = ma.fields.Nested(DateTimeSchema, required=True)
    parameter_name = _name()


class ImageParameterSchema(ma.Schema):
    """A picture."""

    type = only("image")
    image = ma.fields.Nested(HeaderMediaSchema, required=True)


class VideoParameterSchema(ma.Schema):
    """A video."""

    type = only("video")
    video = ma.fields.Nested(HeaderMediaSchema, required=True)


class DocumentParameterSchema(ma.Schema):
    """A document."""

    type = only("document")
    document = ma.fields.Nested(HeaderDocumentSchema, required=True)


class LocationParameterSchema(ma.Schema):
    """A place."""

    type = only("location")
    location = ma.fields.Nested(LocationSchema, required=True)


class PayloadParameterSchema(ma.Schema):
    """What comes back when the button is tapped."""

    type = only("payload")
    payload = text(MAX_PAYLOAD, required=True)


class CouponParameterSchema(ma.Schema):
    """A code to copy."""

    type = only("coupon_code")
    coupon_code = text(MAX_COUPON, required=True)


class FlowParameterSchema(ma.Schema):
    """How a flow begins, or which product a catalog shows first."""

    type = only("action")
    action = ma.fields.Dict(required=True)


_HEADER = {
    "text": HeaderTextParameterSchema,
    "image": ImageParameterSchema,
    "video": VideoParameterSchema,
    "document": DocumentParameterSchema,
    "location": LocationParameterSchema,
}
_BODY = {"text": TextParameterSchema, "currency": CurrencyParameterSchema, "date_time": DateTimeParameterSchema}


def _parameters(shapes: dict[str, type[ma.Schema]], most: int) -> ma.fields.List:
    limit = ma.validate.Length(1, most, error=f"Give 1 to {most}." if most > 1 else "Give one.")
    return ma.fields.List(ByType(shapes), required=True, validate=limit)


# --- components --------------------------------------------------------------------------------------------------


class HeaderComponentSchema(ma.Schema):
    """What the header shows."""

    type = only("header")
    parameters = _parameters(_HEADER, 1)


class BodyComponentSchema(ma.Schema):
    """What the body says in its places, in order or by name."""

    type = only("body")
    parameters = _parameters(_BODY, 100)

    @ma.validates_schema
    def _all_or_none(self, data: dict[str, Any], **_: Any) -> None:
        if len({"parameter_name" in parameter for parameter in data["parameters"]}) > 1:
            raise ma.ValidationError(_MIXED, "parameters")


class _Index(ma.fields.Field):
    """Which button, from 0 on: written as a number or as a text, sent as a text."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        shown = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not (shown.isascii() and shown.isdecimal() and len(shown) == 1):
            raise ma.ValidationError("Write the place of the button, 0 to 9.")
        return shown


class _Button(ma.Schema):
    type = only("button")
    index = _Index(required=True, metadata={"type": ["string", "integer"], "description": "0 to 9"})


class UrlButtonSchema(_Button):
    """The end of a button's link."""

    sub_type = only("url")
    parameters = _parameters({"text": TextParameterSchema}, 1)


class QuickReplyButtonSchema(_Button):
    """What a quick reply sends back."""

    sub_type = only("quick_reply")
    parameters = _parameters({"payload": PayloadParameterSchema}, 1)


class CopyCodeButtonSchema(_Button):
    """The code that a button copies."""

    sub_type = only("copy_code")
    parameters = _parameters({"coupon_code": CouponParameterSchema}, 1)


class FlowButtonSchema(_Button):
    """How a button's flow begins."""

    sub_type = only("flow")
    parameters = _parameters({"action": FlowParameterSchema}, 1)


class CatalogButtonSchema(_Button):
    """Which product a button's catalog shows first."""

    sub_type = only("catalog")
    parameters = ma.fields.List(ByType({"action": FlowParameterSchema}), validate=ma.validate.Length(max=1))


_BUTTONS = {
    "url": UrlButtonSchema,
    "quick_reply": QuickReplyButtonSchema,
    "copy_code": CopyCodeButtonSchema,
    "flow": FlowButtonSchema,
    "catalog": CatalogButtonSchema,
}


class OtherComponentSchema(ma.Schema):
    """A component that only the provider can check: it passes as it is."""

    class Meta:
        """Whatever else is in it."""

        unknown = ma.INCLUDE

    type = only(*_OTHERS)


_COMPONENTS: Shapes = {
    "header": HeaderComponentSchema,
    "body": BodyComponentSchema,
    "button": ByType(_BUTTONS, key="sub_type"),
    **dict.fromkeys(_OTHERS, OtherComponentSchema),
}


class TemplateSchema(ma.Schema):
    """A template that the provider has approved."""

    name = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp(rf"^[a-z0-9_]{{1,{MAX_NAME}}}$", error="A template's name is of a-z, 0-9 and _."),
        error_messages={"required": "Name the template."},
    )
    language = ma.fields.Nested(LanguageSchema, required=True, error_messages={"required": "Name the language."})
    components = ma.fields.List(
        ByType(_COMPONENTS),
        validate=ma.validate.Length(max=MAX_COMPONENTS, error=f"At most {MAX_COMPONENTS} components."),
    )

    @ma.validates_schema
    def _each_once(self, data: dict[str, Any], **_: Any) -> None:
        seen = [
            f"button {each['index']}" if each["type"] == "button" else each["type"]
            for each in data.get("components", ())
        ]
        if len(set(seen)) < len(seen):
            raise ma.ValidationError("One header, one body, and one component for each button.", "components")
