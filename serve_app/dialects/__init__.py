"""The routes' ways of asking and answering: a request becomes a ChatCall, an answer the route's JSON or SSE."""
