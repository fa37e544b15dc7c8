"""Data goes to standard output or a file, talk to standard error.

Names come from others (files, columns, classes, learners, past tasks): what a terminal would act on is shown as an
escape, in all that a person reads. Data in a file or a pipe stay as they are.
"""

import codecs
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from metahp.cli import options
from metahp.core.errors import InputError, MetahpError
from metahp.core.text import make_printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

# Narrower than this no table can be read, and nothing is wrapped well.
MIN_WIDTH = 40
# What our own texts use beyond ASCII, for a terminal that has no more than that.
_PLAIN = str.maketrans({"×": "x", "·": "|", "–": "-", "±": "+/-", "…": "...", "→": "->", "²": "^2", "ö": "oe"})
_JSON_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Reported(int):
    """An exit code of a command that has told already why it ended."""


def prepare_streams() -> None:
    """Make standard streams safe to use: none is missing below, and none fails over a character that it lacks.

    Where a descriptor from 0 to 2 is closed, the next file to be opened would get its number, and stray messages of
    native code would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("metahp", _replaced)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="metahp")  # type: ignore[union-attr]  # what a test puts there may have none


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Plain signs for those of our own texts, escapes for all others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


def width() -> int:
    """Columns of the terminal, 80 where there is none, never too few to wrap a line."""
    return max(shutil.get_terminal_size().columns, MIN_WIDTH)


def console(file: TextIO | None = None) -> "Console":
    """A console for reports: with colour on a terminal, plain elsewhere or where NO_COLOR is set."""
    from rich.console import Console

    if file is None:
        return Console(highlight=False, soft_wrap=False, width=width())
    return Console(file=file, highlight=False, color_system=None, width=width())


def complain(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    say(f"metahp: {' '.join(message.split())}")


def say(text: str) -> None:
    """Print on standard error for a person to read; nobody hears it where that is closed."""
    if sys.stderr is None:
        return
    # `warn` may be called by a signal handler in the midst of another line, which Python refuses with RuntimeError.
    with suppress(OSError, ValueError, RuntimeError):
        print(make_printable(text), file=sys.stderr, flush=True)


def warn(messages: Iterable[str], *, quiet: bool) -> None:
    """One line on standard error for each warning, none if `quiet`."""
    if not quiet:
        for message in messages:
            complain(f"warning: {options.reword(message)}")


class _WarningLine(logging.Handler):
    """Log records as lines on standard error, as all other talk; none once a command was told to be quiet."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.is_quiet = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if not self.is_quiet:
            complain(f"{record.levelname.lower()}: {options.reword(record.getMessage())}")


_lines = _WarningLine()


@contextmanager
def logged() -> Iterator[None]:
    """Show what metahp logs as warnings while the body runs."""
    logger = logging.getLogger("metahp")
    _lines.is_quiet = False
    logger.addHandler(_lines)
    try:
        yield
    finally:
        logger.removeHandler(_lines)


def hush(*, quiet: bool) -> None:
    """Show no more log records in this command if `quiet`."""
    _lines.is_quiet = quiet


@contextmanager
def working(message: str, *, quiet: bool) -> Iterator[None]:
    """Show `message` with a spinner on standard error while the body runs; nothing off a terminal."""
    if quiet or not is_live():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield


def is_live() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def write(text: str, path: Path | None = None, *, is_exact: bool = False) -> None:
    """Write data to standard output, or to the file `path`, which is complete from the moment it has its name.

    Where `is_exact`, a character that standard output cannot take is an error; elsewhere an escape has its place.

    Raises:
        InputError: the file cannot be written, or a character cannot.
        MetahpError: standard output is closed or cannot be written.
    """
    if path is None:
        _print(text, is_exact=is_exact)
        return
    from metahp.files import write_file

    # What is no file, such as /dev/null, stays what it is, and so does a link.
    path = path.resolve()
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            write_file(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(
            f"--output {path} cannot be written ({error.strerror}); name a file in a folder that you may write to."
        ) from error


def write_report(text: str) -> None:
    """Print a text for a person to standard output."""
    _print(make_printable(text), is_exact=False)


def _print(text: str, *, is_exact: bool) -> None:
    if sys.stdout is None:
        raise MetahpError("Nothing could be printed: standard output is closed. Open it, or name a file with --output.")
    if sys.stdout.isatty():
        text = make_printable(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if is_exact:
        try:
            text.encode(encoding)
        except UnicodeEncodeError as error:
            raise InputError(
                f"Standard output takes {encoding} only, and a value holds '{text[error.start]}'. "
                "Name a file with --output, or set PYTHONIOENCODING=utf-8."
            ) from None
    with printing():
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def printing() -> Iterator[None]:
    """Turn a failure to write to standard output into one clear line; a reader that went away is another matter.

    Raises:
        MetahpError: it cannot be written, as on a full disk.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise MetahpError(
            f"Standard output cannot be written ({error.strerror}); what was to be printed there is lost."
        ) from error


def silence() -> None:
    """Let what is still to be written to standard output go nowhere: Python would fail over it once more at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def line(text: str, **style: Any) -> "Text":
    """A text of a report, in which names are shown as they may be and never read as styles."""
    from rich.text import Text

    return Text(make_printable(text), **style)


def write_rich(parts: Iterable["RenderableType"], path: Path | None = None) -> None:
    """Write texts and tables: with colour on a terminal, plain elsewhere or where NO_COLOR is set.

    Raises:
        InputError, MetahpError: as `write`.
    """
    if path is None and sys.stdout is not None:
        terminal = console()
        with printing():
            for part in parts:
                terminal.print(part)
            sys.stdout.flush()
        return
    text = StringIO()
    page = console(text)
    for part in parts:
        page.print(part)
    write(text.getvalue(), path)


def as_json(value: Any) -> str:
    """JSON text with a closing line break; NaN is not JSON, so the caller turns it into None."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(), allow_nan=False)
    return _JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def as_yaml(value: Any) -> str:
    """YAML text in the order of the dictionaries."""
    import yaml

    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=_is_unicode()))
    # YAML takes characters as they are that only steer the direction of writing.
    return text if make_printable(text) == text else str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False))


def _is_unicode() -> bool:
    """Whether standard output can take any character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf")
