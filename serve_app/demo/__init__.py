"""The run on one machine: `make up` and `make down`.

What `python -m serve_app.demo` imports is standard library only, because it runs before any package is installed;
`convert` and `serve_driver` run inside the virtual environment it makes. One folder (`--home`) is one instance, and
every process of an instance carries that folder in its environment: that is how it is found again and stopped.
"""

import sys

# Whatever `python3` is on a machine gets here, and an old one cannot even parse the rest.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"Failed: This is Python {sys.version.split()[0]}; the locked packages are for 3.11 and 3.12.\n"
        "To do: Install one of them and name it: make up PYTHON=python3.11"
    )
