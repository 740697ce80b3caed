"""Receivers of the CRM's own webhooks: `/hooks/<name>` keeps every request and answers as it was told."""

from flask import Blueprint

blueprint = Blueprint("hooks", __name__)
