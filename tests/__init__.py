"""The tests: real Postgres, real Valkey, real processes, the sandbox over HTTP."""
