"""Campaigns: one message to an audience. A plan of recipients, a rehearsal, pumps that send, guards that stop.

States of a campaign: draft, scheduled, running ⇄ paused, halted (by a guard or its budget), finished, cancelled.
Once a recipient has a message, its state is that of the message: nothing is copied, so that the sums always agree.
Tasks: campaigns.plan, campaigns.rehearse, campaigns.start, campaigns.supervise, campaigns.supervise_all,
campaigns.pump, campaigns.withdraw, campaigns.retry_failed.
"""
