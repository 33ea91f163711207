"""Which upstream serves a request: filter, score, pick. Pure functions of values."""
