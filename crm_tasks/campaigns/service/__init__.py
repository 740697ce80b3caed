"""What is done with campaigns, one module a verb.

`drafting` writes them, `composing` checks what they say, `rendering` puts people's values in; `states` are the steps,
`lifecycle` what people do, `watching` what happens by itself; `planning` writes the recipients, `rehearsal` forecasts,
`verdicts` says what becomes of one person, `guards` halt, `supervising` keeps the pumps going; `progress` counts,
`recipients` lists, `ending` cancels, `retrying` sends again what failed.
"""
