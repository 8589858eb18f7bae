"""`python -m beamsight` is the command `beamsight`."""

# SPDX-License-Identifier: BSD-3-Clause

from beamsight.cli import main

if __name__ == "__main__":
    main()
