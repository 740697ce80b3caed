"""The chat page: a person plays the customers, and reads the log of what the CRM sent."""

from flask import Blueprint

blueprint = Blueprint("chat", __name__, template_folder="templates", static_folder="static", static_url_path="/static")
