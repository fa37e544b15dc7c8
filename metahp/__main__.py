"""`python -m metahp` is the command `metahp`."""

import sys

from metahp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
