"""The directory that a study leaves behind: held by one process at a time, written and replaced file by file.

Its files are those of `metahp.results.content`, beside study/, the trials from which a later run goes on; see
`metahp.study.trials`.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from metahp.core.errors import InputError
from metahp.evaluation import interrupts
from metahp.files import (
    HeldError,
    hold_lock,
    is_unfinished,
    make_unfinished_folder,
    make_unfinished_path,
    sweep,
    sync_folder,
    write_files,
    write_synced,
)
from metahp.learners.registry import LEARNERS
from metahp.learners.untrusted import MAX_DESCRIPTION_BYTES, parse_json, read_file
from metahp.results.content import BEST, MODELS, PREPARATION, SCRIPT, TRIALS, ResultContent, make_files

logger = logging.getLogger(__name__)

STUDY = "study"
LOCK = "lock"
# Free space without which no run begins; most results need less.
SPACE_BYTES = 1 << 20
_DESCRIPTIONS = (PREPARATION, TRIALS, SCRIPT)
_MODEL = re.compile(r"(?:model|models/[0-9]{1,9})\.([a-z0-9]+)")


def check_directory(directory: str | Path) -> None:
    """Refuse, before the first trial, a directory that `write_result` would refuse.

    Raises:
        InputError: it is a file or a link, has a link where a result has files, or holds files that are not an
            earlier result.
    """
    path = Path(directory)
    entries = list(path.iterdir()) if path.is_dir() else []
    models = list((path / MODELS).iterdir()) if (path / MODELS).is_dir() else []
    for place in (path, *entries, *models):
        is_ours = place.parent != path or place.name == BEST or _is_ours(place, has_study=True)
        if is_ours and place.is_symlink():
            raise InputError(
                f"'{place}' is a link, and what is written there would land elsewhere; name the real place."
            )
    if path.exists() and not path.is_dir():
        raise InputError(
            f"`output` '{path}' is a file; expected a directory, or a name for a new one.", argument="output"
        )
    # Unfinished files of a killed run do not count, nor does the study of a run that has not ended yet.
    has_study = (path / STUDY / LOCK).exists()
    others = (entry for entry in entries if not _is_ours(entry, has_study=has_study))
    if any(others) and not (path / BEST).exists():
        raise InputError(
            f"`output` '{path}' holds other files; name a new or empty directory, or an earlier result.",
            argument="output",
        )


def _is_ours(entry: Path, *, has_study: bool) -> bool:
    """Whether a run left this entry of a directory; files of a result count only beside a study."""
    is_of_result = entry.name == MODELS or _is_of_result(entry.name)
    return entry.name == STUDY or is_unfinished(entry) or (has_study and is_of_result)


def _is_of_result(name: str) -> bool:
    """Whether a result may have a file of this name besides `best.json`."""
    model = _MODEL.fullmatch(name)
    return name in _DESCRIPTIONS or (
        model is not None and any(learner.suffix == model[1] for learner in LEARNERS.values())
    )


@contextlib.contextmanager
def hold_directory(directory: str | Path) -> Iterator[None]:
    """Hold a result directory for one run, so that no other process writes there.

    Unfinished files of an earlier run are removed first, and at the end a new directory in which nothing was kept.

    Raises:
        InputError: as `check_directory`; or another process holds it, or it cannot be written.
    """
    path = Path(directory)
    check_directory(path)
    study = path / STUDY
    new = [folder for folder in (study, path) if not folder.exists()]
    with contextlib.ExitStack() as stack:
        try:
            study.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(study / LOCK))
            stack.callback(_remove_if_unused, study, new)
            _refuse_links(study)
            sweep(path.absolute().parent, path.absolute().name)
            for folder in (path, study, *study.glob("*"), *study.glob("*/journal")):
                sweep(folder)
            _check_space(study)
        except HeldError as error:
            raise InputError(
                f"'{path}' is in use by {error}; wait until it is done, or name another directory with `output`."
            ) from None
        except OSError as error:
            raise _make_write_error(path, error) from error
        yield


def _remove_if_unused(study: Path, new: Sequence[Path]) -> None:
    """Remove the folders that this run has made, where they hold nothing but its lock."""
    with contextlib.suppress(OSError):
        if study in new and [entry.name for entry in study.iterdir()] == [LOCK]:
            (study / LOCK).unlink()
            for folder in new:
                folder.rmdir()


def _refuse_links(folder: Path) -> None:
    """Refuse a folder that holds links: files behind them do not belong to metahp."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(parent) / name).is_symlink():
                raise InputError(
                    f"'{path}' is a link, which metahp does not make; remove it, or name another `output`."
                )


def _check_space(folder: Path) -> None:
    """Write and remove a file, so that a full disk is found before the first trial and not after the last.

    Raises:
        OSError: it cannot be written.
    """
    probe = make_unfinished_path(folder / "space")
    try:
        write_synced(probe, bytes(SPACE_BYTES))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def write_result(directory: str | Path, content: ResultContent) -> None:
    """Write a result directory, or replace the one that is there.

    All files are complete on disk before the first one gets its name. A new directory appears at once with all of
    them. In an earlier result, each file is replaced at once; a reader in between finds that the model and its
    description do not belong together. Only files that the earlier result names as its own are removed.

    Raises:
        InputError: the directory holds something else or cannot be written, or the model has foreign types.
    """
    target = Path(directory).absolute()
    check_directory(target)
    files = make_files(content)
    try:
        home = target if target.is_dir() else target.parent
        home.mkdir(parents=True, exist_ok=True)
        with make_unfinished_folder(home / target.name) as staging:
            write_files(staging, files)
            with interrupts.shield():
                if home is not target:
                    staging.rename(target)
                else:
                    _replace(target, staging, list(files))
                sync_folder(home)
    except OSError as error:
        raise _make_write_error(directory, error) from error


def _make_write_error(directory: str | Path, error: OSError) -> InputError:
    return InputError(
        f"The result cannot be written to '{directory}' ({error.strerror}); "
        "name a directory that you may write to, on a disk with space left."
    )


def _replace(target: Path, staging: Path, names: list[str]) -> None:
    """Put the staged files in the place of an earlier result.

    `best.json` comes last: it names the earlier files, so after a kill it still lists what has to be removed.
    """
    *others, best = names
    obsolete = [name for name in _list_result_files(target) if name not in names]
    for name in others:
        path = target / name
        path.parent.mkdir(exist_ok=True)
        (staging / name).replace(path)
    for name in obsolete:
        (target / name).unlink(missing_ok=True)
    # On disk before the list of the earlier files is gone.
    for folder in {(target / name).parent for name in others}:
        sync_folder(folder)
    (staging / best).replace(target / best)


def _list_result_files(target: Path) -> list[str]:
    """The files that the result in `target` names as its own, where a result can have files of these names."""
    try:
        described = parse_json(read_file(target / BEST, MAX_DESCRIPTION_BYTES))
        return [name for name in described["files"] if isinstance(name, str) and _is_of_result(name)]
    except (InputError, ValueError, KeyError, TypeError) as error:
        if (target / BEST).exists():
            logger.warning("the earlier %s cannot be read (%s): files that only it names stay", target / BEST, error)
        return []
