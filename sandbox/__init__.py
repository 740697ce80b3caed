"""A stand-in for the outside world: WhatsApp's Graph API, its webhooks, a customer's phone and an AI provider.

It is a program of its own and imports neither the tasks nor the web app, so what it says about them is evidence.
"""

__version__ = "1.0.0"
