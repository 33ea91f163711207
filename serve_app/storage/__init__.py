"""Adapters to what outlives a process: SQLAlchemy databases and Redis."""
