"""What is checked of a result directory without the imports that a result needs."""

from pathlib import Path

from metahp.core.errors import InputError
from metahp.learners.untrusted import MAX_DESCRIPTION_BYTES, parse_json, read_file

# The best configuration and how it was found.
BEST = "best.json"


def check_is_of(directory: str | Path, file: str | Path) -> None:
    """Refuse a directory that holds the result of another file, where the user did not name it.

    Raises:
        InputError: it does.
    """
    try:
        other = parse_json(read_file(Path(directory) / BEST, MAX_DESCRIPTION_BYTES))["task"]["file"]
    except (InputError, ValueError, KeyError, TypeError):
        return
    if other is not None and other != str(Path(file).absolute()):
        raise InputError(f"'{directory}' holds the result of '{other}'; name another directory with `output`.")


def check_is_directory(directory: str | Path) -> None:
    """Refuse what is no directory.

    Raises:
        InputError: it is a file, or is not there.
    """
    folder = Path(directory)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"'{folder}' {what}; expected the directory that metahp tune wrote.")
