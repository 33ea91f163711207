"""What is needed to load and to measure the product from outside: it imports nothing of `serve_app`."""
