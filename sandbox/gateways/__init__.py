"""The gateways for text messages and e-mail: a JSON one for each, and one in Twilio's shape."""

from flask import Blueprint

blueprint = Blueprint("gateways", __name__)
