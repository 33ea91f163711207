"""A request's life: classify, decide, dispatch, account. Talks to ports only."""
