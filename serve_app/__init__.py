"""UpCoach LLM: what a request means and how it is decided. Plain Python; Ray is known to `graph` alone."""
