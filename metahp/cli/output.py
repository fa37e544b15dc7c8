"""Data goes to standard output or a file, talk to standard error."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metahp.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType


def complain(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    print(f"metahp: {' '.join(message.split())}", file=sys.stderr)


def warn(messages: Iterable[str], *, quiet: bool) -> None:
    """One line on standard error for each warning, none if `quiet`."""
    if not quiet:
        for message in messages:
            complain(f"warning: {message}")


@contextmanager
def working(message: str, *, quiet: bool) -> Iterator[None]:
    """Show `message` with a spinner on standard error while the body runs; nothing off a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield


def write(text: str, path: Path | None = None) -> None:
    """Write `text` to standard output, or to the file `path`, which is complete from the moment it has its name.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    # What is no file, such as /dev/null, stays what it is, and so does a link.
    path = path.resolve()
    temporary = None
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(
            f"--output {path} cannot be written ({error.strerror}); name a file in a folder that you may write to."
        ) from error


def write_rich(parts: Iterable["RenderableType"], path: Path | None = None) -> None:
    """Write texts and tables: with colour on a terminal, plain elsewhere or where NO_COLOR is set."""
    from rich.console import Console

    if path is None:
        console = Console(highlight=False, soft_wrap=False)
        for part in parts:
            console.print(part)
        return
    text = StringIO()
    console = Console(file=text, highlight=False, color_system=None)
    for part in parts:
        console.print(part)
    write(text.getvalue(), path)


def as_json(value: Any) -> str:
    """JSON text with a closing line break; NaN is not JSON, so the caller turns it into None."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_yaml(value: Any) -> str:
    """YAML text in the order of the dictionaries."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
