"""What the gateway says of itself: metrics and logs, none of it text of a prompt."""
