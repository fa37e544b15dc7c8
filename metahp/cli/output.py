"""Output of the commands: data go to standard output or a file, messages to standard error.

Names come from others (files, columns, classes, learners, past tasks). In texts for a person, characters that a
terminal would act on are shown as escapes. Data in a file or a pipe stay as they are.
"""

import codecs
import json
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from metahp.cli import options
from metahp.core.errors import InputError, MetahpError, MetahpWarning
from metahp.core.text import make_printable
from metahp.core.warn import is_progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

# A narrower table cannot be read.
MIN_WIDTH = 40
# ASCII replacements of the other characters in our own texts.
_PLAIN = str.maketrans({"×": "x", "·": "|", "–": "-", "±": "+/-", "…": "...", "→": "->", "²": "^2", "ö": "oe"})
_JSON_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Reported(int):
    """An exit code of a command that has already printed why it ended."""


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let none fail because of a character outside its encoding.

    The next file to be opened would get the number of a closed descriptor from 0 to 2, and native code would write its
    messages into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("metahp", _replace_characters)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="metahp")  # type: ignore[union-attr]  # a test may replace it by an object without this method


def _replace_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    """ASCII in place of the characters of our own texts, escapes in place of all others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


def find_width() -> int:
    """Columns of the terminal, at least `MIN_WIDTH`; 80 where there is no terminal."""
    return max(shutil.get_terminal_size().columns, MIN_WIDTH)


def make_console(file: TextIO | None = None) -> "Console":
    """A console for reports: with colour on a terminal, plain elsewhere or where NO_COLOR is set."""
    from rich.console import Console

    if file is None:
        return Console(highlight=False, soft_wrap=False, width=find_width())
    return Console(file=file, highlight=False, color_system=None, width=find_width())


def complain(message: str) -> None:
    """Print a message as one line on standard error; line breaks in it become spaces."""
    say(f"metahp: {' '.join(message.split())}")


def say(text: str) -> None:
    """Print a text for a person on standard error; do nothing where that is closed."""
    if sys.stderr is None:
        return
    # A signal handler may print while another line is being written; Python then raises RuntimeError.
    with suppress(OSError, ValueError, RuntimeError):
        print(make_printable(text), file=sys.stderr, flush=True)


def warn(messages: Iterable[str], *, quiet: bool) -> None:
    """Print each warning as one line on standard error; none if `quiet`."""
    if not quiet:
        for message in messages:
            if message not in _handler.said:
                complain(f"warning: {options.reword(message)}")


class _WarningHandler(logging.Handler):
    """Print log records as lines on standard error, like all other messages; none if a command is quiet."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.is_quiet = False
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        message = record.getMessage()
        if is_progress(record):
            if not self.is_quiet:
                complain(options.reword(message))
            return
        # The result of the command has it too, and is printed later.
        self.said.add(message)
        if not self.is_quiet:
            complain(f"{record.levelname.lower()}: {options.reword(message)}")


_handler = _WarningHandler()


@contextmanager
def show_logs() -> Iterator[None]:
    """Print metahp's log records as warnings while the body runs."""
    logger = logging.getLogger("metahp")
    _handler.is_quiet = False
    _handler.said.clear()
    logger.addHandler(_handler)
    try:
        with warnings.catch_warnings():
            # Commands print them, each in its place.
            warnings.simplefilter("ignore", MetahpWarning)
            yield
    finally:
        logger.removeHandler(_handler)


def set_quiet(*, quiet: bool) -> None:
    """Print no log records in this command if `quiet`."""
    _handler.is_quiet = quiet


@contextmanager
def show_spinner(message: str, *, quiet: bool) -> Iterator[None]:
    """Show `message` with a spinner on standard error while the body runs; nothing where that is no terminal."""
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
    """Write data to standard output, or to the file `path`; the file is never visible half written.

    Where `is_exact`, a character outside the encoding of standard output is an error; elsewhere it becomes an escape.

    Raises:
        InputError: the file or a character cannot be written.
        MetahpError: standard output is closed or cannot be written.
    """
    if path is None:
        _print(text, is_exact=is_exact)
        return
    from metahp.files import write_file

    # Links, and devices such as /dev/null, are written to and not replaced.
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
    """Print a text for a person on standard output."""
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
                f"A value has the character '{text[error.start]}', which standard output ({encoding}) cannot show. "
                "Name a file with --output, or set PYTHONIOENCODING=utf-8."
            ) from None
    with report_write_errors():
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def report_write_errors() -> Iterator[None]:
    """Turn a failure to write to standard output into one clear error; a closed pipe stays a BrokenPipeError.

    Raises:
        MetahpError: standard output cannot be written, for example because the disk is full.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise MetahpError(f"Standard output cannot be written ({error.strerror}); the output is lost.") from error


def silence() -> None:
    """Discard all further standard output; Python would otherwise fail again when it exits."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_text(text: str, **style: Any) -> "Text":
    """A text for a report: characters that a terminal acts on are escapes, and nothing is read as a style."""
    from rich.text import Text

    return Text(make_printable(text), **style)


def write_rich(parts: Iterable["RenderableType"], path: Path | None = None) -> None:
    """Write texts and tables: with colour on a terminal, plain elsewhere or where NO_COLOR is set.

    Raises:
        InputError, MetahpError: as in `write`.
    """
    if path is None and sys.stdout is not None:
        terminal = make_console()
        with report_write_errors():
            for part in parts:
                print_part(terminal, part)
            sys.stdout.flush()
        return
    text = StringIO()
    page = make_console(text)
    for part in parts:
        print_part(page, part)
    write(text.getvalue(), path)


def print_part(console: "Console", part: "RenderableType") -> None:
    """Print a text or a table; a text that is not to be wrapped stays one line."""
    # Printed as it is: rich would forget that it is not to be wrapped.
    console.print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))


def format_json(value: Any) -> str:
    """JSON text that ends with a line break. The caller replaces NaN by None, because JSON has no NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(), allow_nan=False)
    return _JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def format_yaml(value: Any) -> str:
    """YAML text; keys keep their order."""
    import yaml

    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=_is_unicode()))
    # YAML does not escape characters that change the direction of writing.
    return text if make_printable(text) == text else str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False))


def _is_unicode() -> bool:
    """Whether standard output can show every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf")
