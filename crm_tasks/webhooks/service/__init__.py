"""The room in parts.

`endpoints` (who wants what), `publishing` (what happened), `delivering` (one delivery and what becomes of it), `gate`
(when an endpoint may be called), `signing` (secrets and headers), `history` (looking back, replaying, forgetting).
"""
