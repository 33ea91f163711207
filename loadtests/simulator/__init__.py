"""A simulated OpenAI-compatible provider: settable speed, faults by name, and an exact count of what it served."""
