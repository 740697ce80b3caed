"""Outgoing webhooks: what happens in a workspace, told to the business's own systems, signed and until they take it."""
