"""POST /v1/responses without state: request to chat, chat.completion to Response, chunks to typed events."""
