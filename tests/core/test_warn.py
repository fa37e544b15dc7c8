"""What metahp logs while it answers reaches the person who asked, once, and stays in the result."""

import logging
import warnings

import pytest

from metahp.core.errors import MetahpWarning
from metahp.core.warn import PROGRESS, LoggedWarnings

_log = logging.getLogger("metahp.somewhere")


def test_logged_warnings_are_collected_once_and_progress_is_not() -> None:
    with LoggedWarnings() as logged:
        for _ in range(2):
            _log.warning("a model cannot be used (%s)", "damaged")
        _log.warning("reading, about 3 s", extra=PROGRESS)
        _log.info("nothing to act on")
    _log.warning("later")
    assert logged.add_to(["known"]) == ("known", "a model cannot be used (damaged)")


def test_an_error_is_not_hidden_by_a_warning_before_it() -> None:
    with pytest.warns(MetahpWarning, match="the journal is damaged") as warned, pytest.raises(ValueError, match="no"):
        fail()
    assert {each.filename for each in warned} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="no"):
            fail()


def fail() -> None:
    with LoggedWarnings():
        _log.warning("the journal is damaged")
        raise ValueError("no")


def test_progress_is_printed_where_nobody_handles_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with LoggedWarnings():
        _log.warning("reading, about %d s", 3, extra=PROGRESS)
    assert capsys.readouterr().err == "metahp: reading, about 3 s\n"
