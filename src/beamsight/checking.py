"""The verb that tells whether an archive of frames is whole."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def check(archive: Path, /, *, quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False) -> int:
    """Check an archive of simulated frames: every checksum, every count, every key once.

    Example: `beamsight check frames`

    A line for each fault. Exit status: 0 whole, 1 faults, 3 no archive that can be read.

    Parameters
    ----------
    archive
        Folder made by `beamsight simulate`.
    quiet
        Say nothing but faults.
    """
    from beamsight.archive_check import check_archive
    from beamsight.console import ALL, NOTHING, SOME, Progress, count, out, say, stoppable
    from beamsight.errors import BadArchive
    from beamsight.predict import Tally

    tally, known = Tally(), [0]
    line = lambda tally, before, files, all_found: f"{tally.frames:,} of {files:,} files"  # noqa: E731
    try:
        with stoppable(), Progress(tally, quiet, lambda: (0, known[0], True), line) as progress:

            def tell(done: int, files: int) -> None:
                tally.frames, known[0] = done, files
                progress.step()

            found = check_archive(archive, tell)
    except BadArchive as error:
        say(f"beamsight: {error}")
        return NOTHING
    for fault in found.faults:
        out(fault)
    if not found.faults and not quiet:
        out(f"ok: {count(found.frames)} in {found.files:,} data files, {found.size / 1e6:,.1f} MB, every checksum right")
    if found.frames == 0:
        return NOTHING
    return SOME if found.faults else ALL
