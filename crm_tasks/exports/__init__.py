"""Exports: what is in the tables as files that people and other programs open."""
