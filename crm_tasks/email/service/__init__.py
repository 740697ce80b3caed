"""What can be done with e-mails, a module per verb.

`accept` takes one in, `sending` has it leave with its files, `bounces` keeps what is said against an address,
`receive` applies callbacks and returned mail, `leave` takes a person off, `templates` keeps templates.
"""
