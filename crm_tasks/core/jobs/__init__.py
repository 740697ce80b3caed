"""The ledger: every accepted piece of work is a row of `jobs`.

    queued ──claim──▶ running ──ok──▶ succeeded
      ▲                  ├─ snooze, retry, lease expired ─▶ queued
      └──── retry ─ dead ◀─ permanent, attempts used up
    queued | running ──cancel──▶ cancelled

`model` the tables · `enqueue` the way in · `claim` the way through a worker · `ring` the doorbell ·
`repair` what a person does to a job · `dead_letters` the dead rows, grouped.
"""
