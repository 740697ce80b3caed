"""The admin: pages for people, behind a login. `access.NEEDS` says what each page needs."""

from flask import Blueprint, Flask, Response

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


def register(app: Flask) -> None:
    """Add the pages."""
    from webapp.admin import (  # their pages belong to the blueprint
        access,
        audit,  # noqa: F401
        bulk,  # noqa: F401
        calendar,  # noqa: F401
        campaign_writing,  # noqa: F401
        campaigns,  # noqa: F401
        channels,  # noqa: F401
        contact_form,  # noqa: F401
        contacts,  # noqa: F401
        conversations,  # noqa: F401
        dead_letters,  # noqa: F401
        events,  # noqa: F401
        exports,  # noqa: F401
        home,  # noqa: F401
        import_wizard,  # noqa: F401
        imports,  # noqa: F401
        jobs,  # noqa: F401
        keys,  # noqa: F401
        me,  # noqa: F401
        notifications,  # noqa: F401
        people,  # noqa: F401
        queues,  # noqa: F401
        replies,  # noqa: F401
        rules,  # noqa: F401
        segments,  # noqa: F401
        settings,  # noqa: F401
        shown,
        system,  # noqa: F401
        templates,  # noqa: F401
        tests,  # noqa: F401
        unknown,  # noqa: F401
        webhooks,  # noqa: F401
        workspaces,  # noqa: F401
    )

    app.register_blueprint(blueprint)
    shown.register(app)
    access.register(app)


@blueprint.after_request
def _keep_nothing(response: Response) -> Response:
    """What is about customers is in no cache, also after the log out."""
    response.headers["Cache-Control"] = "no-store"
    return response
