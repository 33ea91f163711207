"""Whatever completes a chat, and what is known of it: OpenAI-compatible HTTP, Serve handles, the fleet."""
