"""The outside world, one protocol each. Knows no model and no session: turns every answer into a value."""
