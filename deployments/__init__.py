"""Where things run: thin, undecorated classes. `serve_app.graph` turns them into Ray Serve deployments."""
