"""Reading an upstream's stream: SSE bytes into events, events into chunks, chunks into times and tokens. No I/O."""
