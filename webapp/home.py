"""The front page: where everything is."""

from flask import Blueprint, Flask, render_template, request

from crm_tasks.config import settings
from webapp import flower

blueprint = Blueprint("home", __name__)


def register(app: Flask) -> None:
    """Add the front page."""
    app.register_blueprint(blueprint)


@blueprint.get("/")
def index() -> str:
    """Show the doors of this system, on the host by which the person came."""
    host = request.host.rsplit(":", 1)[0]
    config = settings()
    return render_template(
        "home.html",
        flower_url=flower.url(),
        sandbox_url=f"http://{host}:{config.sandbox_port}/" if config.uses_sandbox else None,
    )
