"""Alembic migrations, linear, `0001_slug.py`. Up, down and up again is tested, and that no model has drifted."""
