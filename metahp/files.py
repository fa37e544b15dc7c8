"""Atomic writing of files: a file is written completely under another name, then renamed.

An unfinished file or folder has the name `.NAME.HOST-PID-TOKEN.tmp`, which identifies the writing process: `sweep`
removes what ended processes left. NAME is cut if it would be too long for a file system.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# It is unknown whether a process of another machine still runs; after a day its files count as left over.
FOREIGN_SECONDS = 86_400.0
# File systems allow 255 bytes for a name; the remainder is for host, process and token.
MAX_NAME_BYTES = 180
_UNFINISHED = re.compile(r"\.(?P<name>.*)\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}\.tmp", re.DOTALL)


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step: readers see the old content or all of the new content, also after a kill.

    The data are on disk before the file is renamed; the name is on disk when this function returns.

    Raises:
        OSError: the file cannot be written; the old content is unchanged.
    """
    unfinished = make_unfinished_path(path)
    try:
        write_synced(unfinished, data)
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until its content is on disk; the caller renames it later."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def make_unfinished_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, to be renamed to `path` when finished; on exit it is removed if it still exists.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = make_unfinished_path(path)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write new files into a folder; their content and names are on disk when this function returns.

    Raises:
        OSError: a file cannot be written.
    """
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_synced(path, data)
    for parent in {(folder / name).parent for name in files}:
        sync_folder(parent)


def claim_name(unfinished: Path, path: Path) -> bool:
    """Give a finished file the name `path` if that name is free; return whether it was free.

    The name is on disk when this function returns.

    Raises:
        OSError: the file cannot be renamed.
    """
    is_free = True
    try:
        os.link(unfinished, path)
    except FileExistsError:
        is_free = False
    except OSError:
        # The file system has no hard links: rename. Two processes could both do so; the second one wins.
        is_free = not path.exists()
        if is_free:
            unfinished.rename(path)
    sync_folder(path.parent)
    return is_free


def make_unfinished_path(path: Path) -> Path:
    """A free name beside `path` for an unfinished file or folder; `sweep` recognises it as this process's."""
    name = path.name.encode(errors="surrogateescape")[:MAX_NAME_BYTES].decode(errors="ignore")
    return path.with_name(f".{name}.{_hash_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk; does nothing on Windows, which cannot open folders."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, name: str = "") -> list[Path]:
    """Remove unfinished files and folders of ended processes from `folder`; with `name`, only those for that name.

    Links stay, and so do files that a running process of this machine writes, and files that cannot be removed.

    Returns:
        The removed paths.
    """
    removed: list[Path] = []
    try:
        entries = list(folder.iterdir())
    except OSError:
        return removed
    for entry in entries:
        match = _UNFINISHED.fullmatch(entry.name)
        if match is None or (name and not name.startswith(match["name"])):
            continue
        try:
            written = entry.lstat().st_mtime
            if entry.is_symlink() or _is_being_written(match["host"], int(match["pid"]), written):
                continue
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            removed.append(entry)
        except OSError:
            continue
    return removed


def is_unfinished(path: Path) -> bool:
    """Whether the name of `path` is one that `make_unfinished_path` gives."""
    return _UNFINISHED.fullmatch(path.name) is not None


class HeldError(Exception):
    """Another process, or another part of this one, holds a lock file; the message says which process."""


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` in the body; the system releases the lock however this process ends.

    Raises:
        HeldError: another process, or another part of this one, holds it.
        OSError: the lock file cannot be written, or is a link.
    """
    handle = _acquire(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} of {platform.node()}".encode())
        yield
    finally:
        os.close(handle)


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(handle)
            # The previous holder may have removed the file meanwhile; then another file may have its name.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except (BlockingIOError, PermissionError):
            holder = os.read(handle, 200).decode(errors="replace").strip()
            os.close(handle)
            raise HeldError(holder or "another process") from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file or raise at once; each of the two modules exists on one system only."""
    if os.name == "posix":
        import fcntl  # noqa: PLC0415

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt  # noqa: PLC0415

        getattr(msvcrt, "locking")(handle, getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009


def _is_being_written(host: str, pid: int, written: float) -> bool:
    if host != _hash_host():
        return time.time() - written < FOREIGN_SECONDS
    if pid == os.getpid():
        return True
    # Imported here: nearly every run finds no unfinished file, so it does not need psutil.
    import psutil  # noqa: PLC0415

    try:
        # A process that started after the last write is another one that has reused the process id.
        return bool(psutil.Process(pid).create_time() <= written + 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


@functools.cache
def _hash_host() -> str:
    return hashlib.blake2b(platform.node().encode(errors="replace"), digest_size=4).hexdigest()
