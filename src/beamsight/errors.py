"""What can go wrong, in words a user can act on: what was asked, what was found, what to do."""

# SPDX-License-Identifier: BSD-3-Clause


class BeamsightError(Exception):
    """Any error that beamsight raises on purpose; its message is one clear line."""

    def __str__(self) -> str:
        # KeyError would print its argument quoted; a sentence for people must not be.
        return str(self.args[0]) if self.args else ""


class UnknownTask(BeamsightError, KeyError):
    """No task or bundle of that name; the message lists the close names."""


class BadFrame(BeamsightError, ValueError):
    """An array that is no detector frame: wrong shape, type or content."""


class NoGeometry(BeamsightError, ValueError):
    """A quantity was asked of a geometry that does not hold what it needs."""


class CannotRead(BeamsightError, OSError):
    """A file that could not be read: its path, what was seen, what would be read."""


class BadArchive(BeamsightError, OSError):
    """A simulated archive that is incomplete or altered."""


class BadBundle(BeamsightError, ValueError):
    """A model folder that is incomplete, altered or of a kind that is not loaded."""


class LostWorkers(BeamsightError, ConnectionError):
    """The workers of a cluster, or its scheduler, went away in the middle of a run: what happened, what was kept."""


class CannotWrite(BeamsightError, OSError):
    """Results that could not be written: the folder, the reason, what was kept."""
