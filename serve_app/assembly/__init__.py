"""From settings to objects: what a gateway is made of without Ray. Router, CLI and tests all build it here."""
