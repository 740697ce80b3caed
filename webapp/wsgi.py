"""The web app as a server runs it: `granian --interface wsgi webapp.wsgi:app`."""

from crm_tasks.core import pulse
from webapp import create_app

app = create_app()
pulse.start(pulse.Identity(kind="web", name="web"))
