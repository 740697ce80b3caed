"""Answers by a language model. Queue `ai`.

`ai.reply` answers a customer's message in workspaces that want it: each message once, whatever is repeated.
"""
