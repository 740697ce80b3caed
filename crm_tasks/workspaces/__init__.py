"""Workspaces are the tenants: their channels and credentials, their users, their API keys. No queue of their own."""
