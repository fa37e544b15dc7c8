import os
import stat
from pathlib import Path

import pytest

from metahp.cli import output
from metahp.core.errors import InputError


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before", encoding="utf-8")
    output.write("après\n", path)
    assert path.read_text(encoding="utf-8") == "après\n"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    output.write("x", tmp_path / "ours")
    (tmp_path / "theirs").write_text("x", encoding="utf-8")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "theirs").stat().st_mode)


def test_a_file_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        output.write("x", tmp_path / "gone" / "out.txt")


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    output.write("x", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"
    (tmp_path / "null").symlink_to(os.devnull)
    output.write("x", tmp_path / "null")
    assert not Path(os.devnull).is_file()


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain("one\n  two\n")
    assert capsys.readouterr().err == "metahp: one two\n"


def test_quiet_silences_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    output.warn(["careful"], quiet=True)
    assert capsys.readouterr().err == ""
    output.warn(["careful"], quiet=False)
    assert capsys.readouterr().err == "metahp: warning: careful\n"
