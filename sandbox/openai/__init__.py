"""A stand-in for an OpenAI-compatible provider. What it says is made up, and every answer says so."""
