"""`crm prove`: checks that nothing was lost and nothing doubled, over ledger, broker and conversations.

`invariant` says what one is; `ledger`, `broker`, `events`, `conversations`, `campaigns`, `webhooks` and `outside` hold
them; `run` checks all.
"""
