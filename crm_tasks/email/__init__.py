"""E-mails: accepted with their files, sent by `email.send` under the rules of the room messages, and what comes back.

`email.receive` applies callbacks and bounces. A bounce or complaint is a fact of its own; when there are enough of them
the address joins the list of suppressions. The last look before each sending is that of every channel.
"""
