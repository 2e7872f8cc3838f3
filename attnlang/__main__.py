"""``python -m attnlang``: the command line."""

import sys

from attnlang.cli import main

if __name__ == "__main__":
    sys.exit(main())
