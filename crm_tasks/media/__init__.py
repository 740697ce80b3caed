"""Files of messages: pictures, sounds, documents. Those of customers are fetched at once, ours are checked and kept.

    in:   wanted ─▶ fetching ─▶ stored                out:  stored (or wanted, if by link), then brought to the
             ▲          ├─ may work later ─▶ wanted         provider with the first message that needs it
             └── retry ─┴─ failed · expired

Their tasks are those of `messages`: a file belongs to what was said.
"""
