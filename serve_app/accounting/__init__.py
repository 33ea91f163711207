"""What was attempted, what it cost, and which answers may be replayed."""
