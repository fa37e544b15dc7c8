"""Segments of the journal: every line by itself, and no changed byte that goes unseen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from metahp.core.configuration import Configuration
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.knowledge import segment
from metahp.knowledge.codec import task_to_dict, trial_to_dict
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.segment import make_segments, parse_segment, read_segment


def a_trial(number: int = 0) -> Trial:
    losses, curve = {"r2": (0.1, 0.25, 1 / 3)}, Curve((5, 10), {"r2": (0.4, 0.2)})
    configuration = Configuration.of("linear", {"C": 0.1 + number, "kind": "ß"})
    return Trial(
        task="t",
        configuration=configuration,
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=Origin.DESIGN,
        fold_losses=losses,
        curve=curve,
        fit_seconds=1.5,
    )


def a_task() -> TaskRecord:
    return TaskRecord(
        task=Task(id="t", type=TaskType.REGRESSION, n_rows=100, n_features=4),
        metafeatures={"skew": 0.5, "gap": float("nan")},
        metafeatures_version=1,
    )


def written(folder: Path, content: bytes) -> Path:
    path = folder / "segment.jsonl"
    path.write_bytes(content)
    return path


def test_a_segment_gives_back_what_went_in(tmp_path: Path) -> None:
    trials = [a_trial(number) for number in range(3)]
    [content] = make_segments(trials, [a_task()])
    found = read_segment(written(tmp_path, content))
    assert found.trials == trials
    assert repr(found.tasks) == repr([a_task()])
    assert [entry.line for entry in found.entries] == [1, 2, 3, 4]
    assert (found.faults, found.n_missing, found.n_lost, found.first_fault) == ((), 0, 0, "")


def test_lines_of_the_first_format_are_read(tmp_path: Path) -> None:
    lines = [json.dumps({"format": 1, **values}) for values in (trial_to_dict(a_trial()), task_to_dict(a_task()))]
    found = read_segment(written(tmp_path, "\n".join(lines).encode()))
    assert found.trials == [a_trial()]
    assert len(found.tasks) == 1
    changed = lines[0].replace('"seed": 0', '"seed": 1')
    [fault] = read_segment(written(tmp_path, changed.encode())).faults
    assert "its id does not fit its content" in fault.reason


def test_every_flipped_bit_is_noticed() -> None:
    trials = [a_trial(number) for number in range(2)]
    [content] = make_segments(trials)
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            found = parse_segment(bytes(changed))
            assert found.n_lost > 0, (place, bit)
            assert not found.newer
            assert all(trial in trials for trial in found.trials)


@pytest.mark.parametrize("n_left", [1, 2])
def test_a_segment_that_was_cut_between_lines_tells_how_many_are_gone(tmp_path: Path, n_left: int) -> None:
    [content] = make_segments([a_trial(number) for number in range(3)])
    lines = content.splitlines(keepends=True)
    for kept in (lines[:n_left], lines[3 - n_left :]):
        found = read_segment(written(tmp_path, b"".join(kept)))
        assert (len(found.trials), found.n_missing, found.faults) == (n_left, 3 - n_left, ())
        assert "missing" in found.first_fault


def test_a_bad_line_costs_no_other_line(tmp_path: Path) -> None:
    [content] = make_segments([a_trial(number) for number in range(3)])
    lines = content.splitlines()
    lines[1] = lines[1].replace(b"0.25", b"0.35")
    found = read_segment(written(tmp_path, b"\n".join(lines)))
    assert found.trials == [a_trial(0), a_trial(2)]
    assert [fault.position for fault in found.faults] == [2]
    assert found.n_lost == 1
    assert found.first_fault.startswith("line 2: its checksum does not fit")


def test_segments_that_were_joined_into_one_file_are_read(tmp_path: Path) -> None:
    parts = [
        next(make_segments([a_trial(n) for n in range(start, start + length)])) for start, length in ((0, 2), (2, 3))
    ]
    found = read_segment(written(tmp_path, b"".join(parts)))
    assert (len(found.trials), found.n_lost) == (5, 0)


def test_many_records_make_several_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "BYTES_AT_ONCE", 800)
    contents = list(make_segments([a_trial(number) for number in range(5)]))
    assert [len(content.splitlines()) for content in contents] == [2, 2, 1]


@pytest.mark.parametrize(
    ("content", "newer"),
    [
        (b'{"format": 3}\n', 3),
        (b'{"format": 2}\n', 0),
        (b'{"format": 0}\n', 0),
        (b'{"format": true}\n', 0),
        (b'{"format": "3"}\n', 0),
        (b'{"format": 3,"check":"' + b"0" * 32 + b'"}\n', 0),
    ],
)
def test_only_a_higher_format_is_a_newer_one(tmp_path: Path, content: bytes, newer: int) -> None:
    found = read_segment(written(tmp_path, content))
    assert (found.newer, len(found.faults)) == (newer, 0 if newer else 1)


def test_what_a_newer_version_writes_with_a_checksum_is_known_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(segment, "FORMAT_VERSION", 3)
        [content] = make_segments([a_trial()])
    assert read_segment(written(tmp_path, content)).newer == 3


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [content] = make_segments([a_trial(number) for number in range(2)])
    monkeypatch.setattr(segment, "MAX_BYTES", len(content) - 1)
    found = read_segment(written(tmp_path, content))
    assert found.is_unfit
    assert "at most" in found.first_fault


def test_a_trial_with_numbers_that_json_does_not_know_survives(tmp_path: Path) -> None:
    trial = replace(a_trial(), fold_losses={"r2": (0.1, float("nan"), float("inf"))})
    [content] = make_segments([trial])
    assert repr(read_segment(written(tmp_path, content)).trials) == repr([trial])
