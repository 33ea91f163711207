"""Stand-ins that speak a real port, and the rigs that several kinds of tests share."""
