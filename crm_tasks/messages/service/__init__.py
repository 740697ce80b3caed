"""What can be done with messages, a module per verb.

`ingest` stores webhook requests, `receive` applies them, `statuses` keeps how far messages came, `events` shows what
was put aside; `outbox` accepts messages, `sending` sends them, `settle` decides the unknown; `history` reads.
"""
