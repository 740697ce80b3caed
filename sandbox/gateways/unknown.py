"""What the gateways answer where there is nothing: each in its own shape, so that a wrong address is seen as one."""

from typing import NoReturn

from flask import Response, request

from sandbox.gateways import blueprint, json_gate, twilio
from sandbox.gateways.gate import intake, serve
from sandbox.intake import Intake, as_json

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@blueprint.route("/<any(sms, email):kind>/<path:rest>", methods=METHODS)
def no_gateway(kind: str, rest: str) -> Response:
    """Answer every other path of the JSON gateways."""

    def take(here: Intake) -> NoReturn:
        raise json_gate.refused(404, f"There is no {here.method} {here.path}.", "not_found")

    return serve(intake(kind, as_json(request.get_data(cache=False)), "", None), json_gate.ordered, take)


@blueprint.route("/twilio/<path:rest>", methods=METHODS)
def no_twilio(rest: str) -> Response:
    """Answer every other path in Twilio's shape."""

    def take(_: Intake) -> NoReturn:
        raise twilio.refused(404, 20404)

    return serve(intake("twilio", b"null", "", None), twilio.ordered, take)
