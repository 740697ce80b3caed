"""Message templates: what the provider has approved, what each wants to be filled in. No queue of their own.

The provider's list is the truth: `messages.sync_templates` fetches it every day and when something hints at a change,
and webhooks keep it true in between. A template that may not be sent is refused before its message is accepted.
"""
