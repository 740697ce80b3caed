"""`crm prove`: checks that nothing was lost and nothing doubled, over ledger, broker and conversations.

`invariant` says what one is · `ledger`, `broker`, `conversations`, `outside` hold them · `run` checks them all.
"""
