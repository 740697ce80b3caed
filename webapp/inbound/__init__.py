"""Doors for providers: verify, store, acknowledge. What a request means is found out later, by a worker."""

from flask import Flask

from webapp.inbound import whatsapp

BLUEPRINTS = (whatsapp.blueprint,)


def register(app: Flask) -> None:
    """Add the providers' doors."""
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
