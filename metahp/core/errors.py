"""Errors that a caller can fix; every message says what was expected, what came and what to try.

A message writes an argument of the Python interface in backticks: `max_rows`, or `max_rows=5` with a value. The command
line replaces it by its option, so only `cli` knows the names of options.
"""

import difflib


class MetahpError(Exception):
    """Base of all errors that metahp raises on purpose.

    Attributes:
        argument: The argument of the Python interface that has to change; empty if no argument has to.
    """

    def __init__(self, message: str = "", *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class MetahpWarning(UserWarning):
    """What a user should know of a table, of the advice or of a result; the result keeps it in `warnings` too."""


class InputError(MetahpError, ValueError):
    """A table, an argument or a file that cannot be used as it is."""


class UnknownNameError(MetahpError, LookupError):
    """A name (learner, metric, hyperparameter, column) that does not exist here."""


class UnknownHyperparameterError(UnknownNameError):
    """A hyperparameter that its search space does not have."""


class OutOfRangeError(MetahpError, ValueError):
    """A hyperparameter value outside its range and not one of its special values."""


class KnowledgeBaseError(MetahpError):
    """A knowledge base that cannot be opened, read or written."""


class BusyError(KnowledgeBaseError):
    """A knowledge base that another process has locked; retrying later can succeed."""


class WorkerError(MetahpError, RuntimeError):
    """The worker process could not be started. A failed trial is not an error: it is recorded as a trial."""


def did_you_mean(name: str, known: list[str]) -> str:
    """A closing hint for an unknown `name`: the names that exist and the closest of them."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"Known: {', '.join(known)}.{hint}"
