"""Contacts are the people on the other side, each with the identities by which channels know them. No queue."""
