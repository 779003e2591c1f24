"""The errors that reach people. Imports nothing."""

from __future__ import annotations


class AstolfoError(Exception):
    """Base of every error that Astolfo raises on purpose; its text is fit to be shown as it is."""


class BadInput(AstolfoError, ValueError):
    """Something that was given cannot be used; nothing was changed.

    ``where`` names the file, key or option, ``found`` what was there, ``expected`` what would be right.
    The command line ends with exit code 2, the REST API with status 422.
    """

    def __init__(self, where: object, found: object, expected: str) -> None:
        self.where = str(where)
        self.found = str(found)
        self.expected = expected
        super().__init__(f"{self.where}: found {self.found}; expected {expected}")

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, str, str]]:
        return type(self), (self.where, self.found, self.expected)


class Unknown(BadInput):
    """There is no such job, training, or file of one; status 404."""


class Over(BadInput):
    """What is asked of a job or training does not fit its state any more; status 409."""


class Failed(AstolfoError, RuntimeError):
    """Good input, but the work could not be done (disk full, file vanished, …); exit code 1."""


class Stopped(AstolfoError):
    """Raised out of a progress callback when somebody asked the work to end."""
