"""The mailbox of everybody the CRM writes to: an SMTP server that delivers nothing, and what it took."""
