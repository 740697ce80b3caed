"""The message templates every business account starts with: each state, several languages, every kind of parameter."""

from sandbox.fields import Json

_STOP = {"type": "QUICK_REPLY", "text": "Stop promotions"}


def _body(text: str, *examples: str) -> Json:
    body: Json = {"type": "BODY", "text": text}
    return body | {"example": {"body_text": [list(examples)]}} if examples else body


def _header(text: str) -> Json:
    return {"type": "HEADER", "format": "TEXT", "text": text}


def _footer(text: str) -> Json:
    return {"type": "FOOTER", "text": text}


def _buttons(*buttons: Json) -> Json:
    return {"type": "BUTTONS", "buttons": list(buttons)}


def _seed(name: str, language: str, category: str, *components: Json, status: str = "APPROVED", **more: str) -> Json:
    return {
        "name": name,
        "language": language,
        "category": category,
        "status": status,
        "components": list(components),
        "parameter_format": "POSITIONAL",
    } | more


SEEDS: tuple[Json, ...] = (
    _seed(
        "hello_world",
        "en_US",
        "UTILITY",
        _header("Hello World"),
        _body("Welcome! This message shows that the business can reach you on WhatsApp. Thank you for trying it out."),
        _footer("Sent from the sandbox"),
    ),
    _seed(
        "order_update",
        "en_US",
        "UTILITY",
        _header("Order update"),
        _body("Hi {{1}}, your order {{2}} has left our warehouse and is on its way.", "Ann", "A-100"),
        _footer("Reply STOP to opt out"),
        _buttons({"type": "QUICK_REPLY", "text": "Where is it?"}, _STOP),
    ),
    _seed(
        "order_update",
        "pt_BR",
        "UTILITY",
        _header("Seu pedido"),
        _body("Olá {{1}}, o seu pedido {{2}} saiu do nosso depósito e está a caminho.", "Ana", "A-100"),
        _footer("Responda PARAR para sair"),
        _buttons({"type": "QUICK_REPLY", "text": "Onde está?"}, {"type": "QUICK_REPLY", "text": "Parar promoções"}),
    ),
    _seed(
        "order_photo",
        "en_US",
        "UTILITY",
        {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::aW1hZ2UvanBlZw=="]}},
        _body("Here is your order {{1}}, {{2}}, just before it was packed.", "A-100", "Ann"),
        _buttons(
            {
                "type": "URL",
                "text": "Track",
                "url": "https://shop.example.test/orders/{{1}}",
                "example": ["https://shop.example.test/orders/A-100"],
            },
            {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+15550783881"},
        ),
    ),
    _seed(
        "invoice_ready",
        "de",
        "UTILITY",
        {"type": "HEADER", "format": "DOCUMENT", "example": {"header_handle": ["4::YXBwbGljYXRpb24vcGRm"]}},
        _body("Guten Tag {{1}}, Ihre Rechnung über {{2}} liegt bei.", "Frau Weber", "49,00 €"),
        _footer("Vielen Dank für Ihren Einkauf"),
    ),
    _seed(
        "appointment_reminder",
        "es",
        "UTILITY",
        {
            "type": "BODY",
            "text": "Hola {{first_name}}, le recordamos su cita del {{day}} a las {{hour}} horas.",
            "example": {
                "body_text_named_params": [
                    {"param_name": "first_name", "example": "Lucía"},
                    {"param_name": "day", "example": "lunes"},
                    {"param_name": "hour", "example": "10:30"},
                ]
            },
        },
        _buttons({"type": "QUICK_REPLY", "text": "Confirmar"}, {"type": "QUICK_REPLY", "text": "Cancelar"}),
        parameter_format="NAMED",
    ),
    _seed(
        "spring_sale",
        "en_US",
        "MARKETING",
        _header("Spring is here, {{1}}!") | {"example": {"header_text": ["Ann"]}},
        _body("Take {{1}} off everything in the shop until Sunday.", "20 %"),
        _footer("You get this because you asked for our offers"),
        _buttons({"type": "URL", "text": "Shop now", "url": "https://shop.example.test/spring"}, _STOP),
    ),
    _seed("spring_sale", "ar", "MARKETING", _body("خصم {{1}} على كل شيء حتى يوم الأحد.", "20%"), _buttons(_STOP)),
    _seed(
        "verify_code",
        "en_US",
        "AUTHENTICATION",
        {
            "type": "BODY",
            "text": "*{{1}}* is your verification code. For your security, do not share it.",
            "add_security_recommendation": True,
            "example": {"body_text": [["123456"]]},
        },
        {"type": "FOOTER", "text": "This code expires in 10 minutes.", "code_expiration_minutes": 10},
        _buttons(
            {
                "type": "URL",
                "text": "Copy code",
                "url": "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp{{1}}",
                "example": ["https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp123456"],
            }
        ),
    ),
    _seed("feedback_request", "en_US", "MARKETING", _body("How did we do, {{1}}? Tell us.", "Ann"), status="PENDING"),
    _seed(
        "guaranteed_win",
        "en_US",
        "MARKETING",
        _body("Click now and win for certain!"),
        status="REJECTED",
        rejected_reason="PROMOTIONAL",
    ),
    _seed("weekly_offers", "en_US", "MARKETING", _body("This week: {{1}} for half.", "tea"), status="PAUSED"),
    _seed("daily_offers", "en_US", "MARKETING", _body("Today only: {{1}} for half.", "tea"), status="DISABLED"),
)
