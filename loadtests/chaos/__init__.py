"""The chaos suite and the soak: a running gateway is hurt in every way we know, and its promises are checked."""
