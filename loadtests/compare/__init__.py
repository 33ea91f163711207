"""Measurements from outside: what the gateway adds, which HTTP client costs least, what memory a graph holds."""
