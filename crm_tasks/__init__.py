"""The CRM itself: one package per capability, shared by the web app and the workers. Never imports Flask."""

__version__ = "0.1.0"
