"""Messages in and out, in conversations, on every channel. Queue `messages`.

    out:  queued ─▶ sending ─▶ accepted ─▶ sent ─▶ delivered ─▶ read ─▶ played
             ▲          ├─ refused, may work later ─▶ queued        (a status never goes back)
             │          ├─ refused for good ─▶ failed
             └ resend ─ unknown: the request left, no answer came; a status webhook settles it
    in:   received

Tasks: `messages.receive` turns webhook events into all this, `messages.send` sends one message, `messages.settle`
looks after a send that ended unknown.
"""
