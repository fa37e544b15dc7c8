"""Ingest: move segments of the journal into the database, and archive them until the database has been read back.

A kill between any two steps neither loses nor duplicates a record: the database stores the names of ingested segments,
and a segment is deleted only after the database was closed, opened again and found to contain its records.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from metahp.core.text import make_encodable
from metahp.core.trial import Trial
from metahp.knowledge import queries
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.database import transaction
from metahp.knowledge.journal import Journal, describe_error, describe_faults
from metahp.knowledge.records import Fault, TaskRecord
from metahp.knowledge.segment import Segment, read_segment

# Most segments and bytes in one transaction. This bounds the memory for a journal of any length, and the work that is
# repeated after a kill.
SEGMENTS_AT_ONCE = 5000
BYTES_AT_ONCE = 128 * 2**20
# Archived segments that are compared with the database at once; this takes a fraction of a second.
READ_BACK_AT_ONCE = 1000
# Errors of DuckDB and Arrow about a value. Others (a full disk, a lock, a damaged file) are not caused by a record.
_VALUE_ERRORS = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.InvalidInputException,
    duckdb.NotSupportedError,
    ValueError,
    TypeError,
    ArithmeticError,
    pa.ArrowNotImplementedError,
)
_log = logging.getLogger(__name__)

# Logs a warning once per key: (key, message).
Warn = Callable[[str, str], None]


def split_batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Segments in batches, one for each transaction."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        batch.append(path)
        size += _measure_size(path)
        if len(batch) >= SEGMENTS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def take_in(connection: duckdb.DuckDBPyConnection, journal: Journal, paths: Sequence[Path], warn: Warn) -> int:
    """Move segments into the database, then into the archive; the number of new trials.

    Unreadable lines, and records that the database refuses, are kept in a file named after their segment.

    Raises:
        OSError: the journal cannot be written.
    """
    names = queries.find_ingested(connection, [_get_name(path) for path in paths])
    done = [path for path in paths if _get_name(path) in names]
    segments = found = _read([path for path in paths if _get_name(path) not in names], journal, warn)
    with transaction(connection):
        queries.remove_unreadable(connection, [trial.id for segment in segments.values() for trial in segment.trials])
    try:
        with transaction(connection):
            added = _insert(connection, segments.values())
            _finish(connection, journal, segments, warn)
    except _VALUE_ERRORS as error:
        _log.debug("Segments are ingested record by record: %s", error)
        added, segments = _insert_each(connection, found)
        with transaction(connection):
            _finish(connection, journal, segments, warn)
    connection.execute("CHECKPOINT")
    kept: dict[Path, set[int] | None] = dict.fromkeys(done)
    for path, lines in _find_new_lines(segments, added).items():
        kept[path] = None if 0 < len(lines) == len(found[path].entries) else lines
    try:
        for path, kept_lines in kept.items():
            journal.put_away(path, kept_lines)
        journal.sync()
    except OSError as error:
        # The database knows their names, so the next ingest only moves them.
        warn(
            "archive",
            f"Nothing is lost, but each call reads the journal again: it cannot be moved to {journal.archive} "
            f"({error.strerror}); make that folder writable.",
        )
    return len(added)


def read_back(connection: duckdb.DuckDBPyConnection, journal: Journal) -> None:
    """Delete archived segments whose records are in the database, and move the others back into the journal.

    Requires a connection that was opened after the ingest, when the file had no write-ahead log. One call stops after
    the first batch without missing records.

    Raises:
        OSError: the journal cannot be written.
    """
    paths = journal.list_archived()
    for start in range(0, len(paths), READ_BACK_AT_ONCE):
        if not _read_back(connection, journal, paths[start : start + READ_BACK_AT_ONCE]):
            break


def bring_back(journal: Journal, paths: Sequence[Path]) -> None:
    """Move archived segments back into the journal, with a logged warning.

    Raises:
        OSError: the journal cannot be written.
    """
    for path in paths:
        journal.bring_back(path)
    if paths:
        _log.warning(
            "%d archived segment(s) of %s have records that the database lacks (was it moved away or replaced?); they "
            "are ingested again.",
            len(paths),
            make_encodable(str(journal.folder)),
        )


def _read_back(connection: duckdb.DuckDBPyConnection, journal: Journal, paths: Sequence[Path]) -> bool:
    """Do this for one batch; whether any segment was moved back."""
    segments = {}
    for path in paths:
        try:
            segments[path] = read_segment(path)
        except OSError as error:
            _log.debug("%s is left in the archive: %s", path, error)
    trials = [trial for segment in segments.values() for trial in segment.trials]
    known = queries.select_trials(connection, None, None, sorted({trial.id for trial in trials})).records
    tasks = queries.select_tasks(
        connection, {record.task.id for segment in segments.values() for record in segment.tasks}
    ).records
    lost = []
    for path, segment in segments.items():
        if segment.newer:
            continue
        if not segment.entries:
            aside = journal.set_aside(path, replace(segment, is_unfit=True))
            _log.warning(
                "The archived trials in %s cannot be read and are lost to the advice; the file was renamed to %s.",
                make_encodable(str(path)),
                aside,
            )
        elif all(_is_known(entry.record, known, tasks) for entry in segment.entries):
            path.unlink(missing_ok=True)
        else:
            lost.append(path)
    bring_back(journal, lost)
    return bool(lost)


def _is_known(record: Trial | TaskRecord, trials: Mapping[str, Trial], tasks: Mapping[str, TaskRecord]) -> bool:
    """Whether the database has this exact trial, or everything that this task record contains."""
    if isinstance(record, TaskRecord):
        known = tasks.get(record.task.id)
        return known is not None and queries.unite_tasks({record.task.id: known}, [record])[record.task.id] is known
    return record.id in trials and _to_comparable(record) == _to_comparable(trials[record.id])


def _to_comparable(trial: Trial) -> str:
    """A text that is equal for equal trials; NaN equals NaN, and 1 equals 1.0."""

    def write_losses(losses: Mapping[str, Sequence[float]]) -> list[tuple[str, list[str]]]:
        return [(name, [repr(float(loss)) for loss in losses[name]]) for name in sorted(losses)]

    return repr(
        (
            trial.task,
            trial.configuration,
            trial.protocol,
            trial.n_rows,
            trial.state,
            trial.origin,
            write_losses(trial.fold_losses),
            trial.curve.checkpoints,
            write_losses(trial.curve.losses),
            float(trial.fit_seconds),
            float(trial.predict_seconds),
            trial.reason,
            trial.space_version,
            sorted(trial.versions.items()),
            trial.device,
        )
    )


def _read(paths: Sequence[Path], journal: Journal, warn: Warn) -> dict[Path, Segment]:
    """The segments to ingest.

    Invalid segments are set aside. Segments that cannot be read at present, or are of a newer version, stay.
    """
    segments = {}
    newer = []
    for path in paths:
        try:
            segment = read_segment(path)
            if segment.is_unfit:
                aside = journal.set_aside(path, segment)
                warn(path.name, f"{describe_faults(path, segment)} It was renamed to {make_encodable(str(aside))}.")
            elif segment.newer:
                newer.append((path, segment))
            else:
                segments[path] = segment
        except FileNotFoundError:
            # Another process has ingested it.
            continue
        except OSError as error:
            warn(path.name, describe_error(path, error))
    for path, segment in newer:
        warn("newer", describe_faults(path, segment))
    return segments


def _insert(connection: duckdb.DuckDBPyConnection, segments: Iterable[Segment]) -> set[str]:
    segments = list(segments)
    tasks = [record for segment in segments for record in segment.tasks]
    trials = _drop_repeats(trial for segment in segments for trial in segment.trials)
    return queries.insert(connection, tasks, trials_to_table(trials))


def _insert_each(
    connection: duckdb.DuckDBPyConnection, segments: Mapping[Path, Segment]
) -> tuple[set[str], dict[Path, Segment]]:
    """Insert each record in a separate transaction; ids of new trials, and the segments without refused records."""
    added: set[str] = set()
    sifted = {}
    for path, segment in segments.items():
        entries, faults = [], list(segment.faults)
        for entry in segment.entries:
            try:
                with transaction(connection):
                    added |= _insert(connection, [Segment(entries=(entry,))])
                entries.append(entry)
            except _VALUE_ERRORS as error:
                faults.append(Fault.of(entry.line, error))
        sifted[path] = replace(segment, entries=tuple(entries), faults=tuple(faults))
    return added, sifted


def _finish(
    connection: duckdb.DuckDBPyConnection, journal: Journal, segments: Mapping[Path, Segment], warn: Warn
) -> None:
    """Keep unreadable records in separate files, then mark the segments as ingested: a kill must not lose records."""
    for path, segment in segments.items():
        if segment.n_lost:
            aside = journal.set_aside(path, segment)
            where = f" and are kept in {make_encodable(str(aside))}" if aside else ""
            warn(
                path.name,
                f"{segment.n_lost} record(s) of the journal segment {make_encodable(str(path))} cannot be read{where}; "
                f"{segment.first_fault}.",
            )
    queries.mark_ingested(connection, [_get_name(path) for path in segments])


def _find_new_lines(segments: Mapping[Path, Segment], added: set[str]) -> dict[Path, set[int]]:
    """Numbers of the ingested lines: all lines except trials that the database already had."""
    unclaimed = set(added)
    lines: dict[Path, set[int]] = {}
    for path, segment in segments.items():
        lines[path] = set()
        for entry in segment.entries:
            if isinstance(entry.record, TaskRecord):
                lines[path].add(entry.line)
            elif entry.record.id in unclaimed:
                unclaimed.remove(entry.record.id)
                lines[path].add(entry.line)
    return lines


def _drop_repeats(trials: Iterable[Trial]) -> list[Trial]:
    """The first trial of each id, in an order that compresses well."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    return sorted(first.values(), key=lambda t: (t.task, t.configuration.learner, t.configuration.id))


def _get_name(path: Path) -> str:
    """The name of a segment as stored in the database."""
    return make_encodable(path.name)


def _measure_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
