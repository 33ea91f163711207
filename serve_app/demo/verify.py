"""Reads every byte of a model folder and compares it with its manifest. Runs inside the virtual environment.

python -m serve_app.demo.verify FOLDER MANIFEST
"""

import argparse
import sys
from pathlib import Path

from serve_app.integrity.manifest import ModelRejected, verify_model


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serve_app.demo.verify")
    parser.add_argument("folder", type=Path)
    parser.add_argument("manifest", type=Path)
    arguments = parser.parse_args()
    try:
        verify_model(arguments.folder, arguments.manifest)
    except ModelRejected as rejected:
        sys.stdout.write(f"{rejected}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
