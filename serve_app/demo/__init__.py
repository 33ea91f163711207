"""The run on one machine: `make up` and `make down`.

What `python -m serve_app.demo` imports is standard library only, because it runs before any package is installed;
`convert` and `serve_driver` run inside the virtual environment it makes. One folder (`--home`) is one instance, and
every process of an instance carries that folder in its environment: that is how it is found again and stopped.
"""
