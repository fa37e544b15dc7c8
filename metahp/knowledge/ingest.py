"""Ingest: segments of the journal move into the database, and wait in an archive until that has been read back.

A kill between any two steps loses nothing and doubles nothing: the database remembers the names of the segments that it
took in, and a segment is deleted only after its records have been found in the file that was closed meanwhile.
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

# Segments, and bytes of them, that one transaction takes in: a journal of any length needs bounded memory, and a kill
# repeats little.
SEGMENTS_AT_ONCE = 5000
BYTES_AT_ONCE = 128 * 2**20
# Archived segments that are looked for in the database at once: a fraction of a second.
READ_BACK_AT_ONCE = 1000
# What DuckDB and Arrow raise over a value; anything else (a full disk, a lock, a damaged file) is no record's fault.
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

# Says something once: a key by which it is known, and the message.
Warn = Callable[[str, str], None]


def split_batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Segments in the portions that one transaction takes in."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        batch.append(path)
        size += _size(path)
        if len(batch) >= SEGMENTS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def take_in(connection: duckdb.DuckDBPyConnection, journal: Journal, paths: Sequence[Path], warn: Warn) -> int:
    """Move segments into the database and then into the archive; how many trials were new.

    Lines that cannot be read, and records that the database refuses, are set aside under the name of their segment.

    Raises:
        OSError: the journal cannot be written.
    """
    names = queries.find_ingested(connection, [_name(path) for path in paths])
    done = [path for path in paths if _name(path) in names]
    segments = found = _read([path for path in paths if _name(path) not in names], journal, warn)
    with transaction(connection):
        queries.remove_unreadable(connection, [trial.id for segment in segments.values() for trial in segment.trials])
    try:
        with transaction(connection):
            added = _insert(connection, segments.values())
            _finish(connection, journal, segments, warn)
    except _VALUE_ERRORS as error:
        _log.debug("Segments are taken in record by record: %s", error)
        added, segments = _insert_each(connection, found)
        with transaction(connection):
            _finish(connection, journal, segments, warn)
    connection.execute("CHECKPOINT")
    kept: dict[Path, set[int] | None] = dict.fromkeys(done)
    for path, lines in _find_new_lines(segments, added).items():
        kept[path] = None if 0 < len(lines) == len(found[path].entries) else lines
    try:
        for path, some in kept.items():
            journal.put_away(path, some)
        journal.sync()
    except OSError as error:
        # They are known by their names, so that the next ingest only moves them.
        warn("archive", f"Ingested segments cannot be moved to {journal.archive} ({error.strerror}) and stay.")
    return len(added)


def read_back(connection: duckdb.DuckDBPyConnection, journal: Journal) -> None:
    """Delete archived segments whose records the database has, and bring the others back into the journal.

    The connection has been opened after they were taken in, and nothing of the file was in a log then. Where all is
    there, one portion is enough for one call.

    Raises:
        OSError: the journal cannot be written.
    """
    paths = journal.archived()
    for start in range(0, len(paths), READ_BACK_AT_ONCE):
        if not _read_back(connection, journal, paths[start : start + READ_BACK_AT_ONCE]):
            break


def bring_back(journal: Journal, paths: Sequence[Path]) -> None:
    """Bring archived segments back into the journal, with a logged warning.

    Raises:
        OSError: the journal cannot be written.
    """
    for path in paths:
        journal.bring_back(path)
    if paths:
        _log.warning(
            "%d archived segment(s) of %s have records that the database lacks (was it moved away or replaced?); they "
            "are taken in again.",
            len(paths),
            make_encodable(str(journal.folder)),
        )


def _read_back(connection: duckdb.DuckDBPyConnection, journal: Journal, paths: Sequence[Path]) -> bool:
    """Do this for some of them; whether any had to be brought back."""
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
            _log.warning("The archived segment %s cannot be read and is now %s.", make_encodable(str(path)), aside)
        elif all(_is_known(entry.record, known, tasks) for entry in segment.entries):
            path.unlink(missing_ok=True)
        else:
            lost.append(path)
    bring_back(journal, lost)
    return bool(lost)


def _is_known(record: Trial | TaskRecord, trials: Mapping[str, Trial], tasks: Mapping[str, TaskRecord]) -> bool:
    """Whether the database has this very trial, or what this task record says."""
    if isinstance(record, TaskRecord):
        known = tasks.get(record.task.id)
        return known is not None and queries.unite_tasks({record.task.id: known}, [record])[record.task.id] is known
    return record.id in trials and _to_comparable(record) == _to_comparable(trials[record.id])


def _to_comparable(trial: Trial) -> str:
    """Equal for equal trials, also where a loss is NaN, and whether a number came as 1 or as 1.0."""

    def texts(losses: Mapping[str, Sequence[float]]) -> list[tuple[str, list[str]]]:
        return [(name, [repr(float(loss)) for loss in losses[name]]) for name in sorted(losses)]

    return repr(
        (
            trial.task,
            trial.configuration,
            trial.protocol,
            trial.n_rows,
            trial.state,
            trial.origin,
            texts(trial.fold_losses),
            trial.curve.checkpoints,
            texts(trial.curve.losses),
            float(trial.fit_seconds),
            float(trial.predict_seconds),
            trial.reason,
            trial.space_version,
            sorted(trial.versions.items()),
            trial.device,
        )
    )


def _read(paths: Sequence[Path], journal: Journal, warn: Warn) -> dict[Path, Segment]:
    """The segments to take in; what is none is set aside, what cannot be read at present or is newer stays."""
    segments = {}
    newer = []
    for path in paths:
        try:
            segment = read_segment(path)
            if segment.is_unfit:
                aside = journal.set_aside(path, segment)
                warn(path.name, f"{describe_faults(path, segment)} It is now {make_encodable(str(aside))}.")
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
    """Insert each record in a transaction of its own; the new trials, and the segments without what was refused."""
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
    """Set aside what cannot be read, before the names of the segments are remembered: a kill must not lose it."""
    for path, segment in segments.items():
        if segment.n_lost:
            aside = journal.set_aside(path, segment)
            where = f" and are kept in {make_encodable(str(aside))}" if aside else ""
            warn(
                path.name,
                f"{segment.n_lost} record(s) of the journal segment {make_encodable(str(path))} cannot be read{where}; "
                f"{segment.first_fault}.",
            )
    queries.mark_ingested(connection, [_name(path) for path in segments])


def _find_new_lines(segments: Mapping[Path, Segment], added: set[str]) -> dict[Path, set[int]]:
    """The lines that the database took: all but trials that it had before, of which it keeps the first."""
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
    """Each trial once, the first that came, in an order that compresses well."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    return sorted(first.values(), key=lambda t: (t.task, t.configuration.learner, t.configuration.id))


def _name(path: Path) -> str:
    """The name of a segment as the database keeps it."""
    return make_encodable(path.name)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
