"""One bad record stops nothing: malformed segments, rows, records and kept models, each kind by its name.

Every kind is made by a seeded generator, lies beside good records, and must be named once in the log, while all good
records are kept and everything that reads the knowledge base goes on.
"""

import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp.api.known_learners import find_known_learners
from metahp.api.past_knowledge import measure_past
from metahp.cli.main import main
from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.evaluation.design import make_design
from metahp.knowledge import cache, database, seed
from metahp.knowledge.codec import task_to_dict, trial_to_dict
from metahp.knowledge.merge import merge
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.segment import MAX_BYTES, make_segments
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS, find_learner
from metahp.metafeatures.extract import NAMES, VERSION

METRIC = "neg_log_loss"
N_TASKS = 4
HALF = "\udc80"
LARGE = 10**30
SPACE = find_learner("linear").space(TaskType.BINARY)

Values = dict[str, Any]


# Good records


def a_task(number: int, **changes: Any) -> TaskRecord:
    rng = np.random.default_rng(number)
    values = {name: float(rng.normal()) for name in NAMES}
    values |= {"baseline:neg_log_loss": 0.69, "baseline:roc_auc": 0.5, "log_n_rows": float(np.log(80))}
    values |= changes.pop("metafeatures", {})
    fields = {"n_rows": 80, "n_features": 5, "n_classes": 2, "name": f"past{number}", "group": f"past{number}"}
    return TaskRecord(
        task=Task(id=f"{number:024d}", type=TaskType.BINARY, **{**fields, **changes}),
        metafeatures=values,
        metafeatures_version=VERSION,
    )


def some_trials(number: int) -> list[Trial]:
    rng = np.random.default_rng(number)
    configurations = [configuration for configuration, _ in make_design(find_learner("linear"), TaskType.BINARY, 4)]
    return [a_trial(number, configuration, 0.4 + 0.1 * float(rng.random())) for configuration in configurations]


def a_trial(number: int, configuration: Configuration, loss: float = 0.5, **changes: Any) -> Trial:
    losses = {METRIC: (loss, loss + 0.01, loss - 0.01)}
    fields = {"protocol": Protocol(), "n_rows": 80, "state": TrialState.COMPLETE, "origin": Origin.DESIGN}
    fields |= {"fold_losses": losses, "curve": Curve((1,), {METRIC: (loss,)}), "fit_seconds": 0.1, **changes}
    return Trial(task=f"{number:024d}", configuration=configuration, **fields)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny knowledge base that a recommendation can learn from, with nothing in its journal."""
    kb = KnowledgeBase(tmp_path_factory.mktemp("built") / "kb")
    for number in range(N_TASKS):
        kb.record(some_trials(number), [a_task(number)])
    kb.ingest()
    kb.ingest()
    return kb.folder


@pytest.fixture
def kb(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnowledgeBase:
    monkeypatch.setattr(seed, "_FOLDERS", (tmp_path / "no seed",))
    shutil.copytree(built, tmp_path / "kb")
    return KnowledgeBase(tmp_path / "kb")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    target = np.where(X[:, 0] + rng.normal(size=60) > 0, "yes", "no")
    return pd.DataFrame({**dict(zip("abc", X.T, strict=True)), "target": target})


def recommended(kb: KnowledgeBase, frame: pd.DataFrame, k: int = 2) -> list[Configuration]:
    options = {"target": "target", "metric": METRIC, "learners": ["linear"], "budget_seconds": 0.0}
    return [item.configuration for item in metahp.recommend(frame, k=k, knowledge_base=kb, **options).items]


GOOD = {trial.id for number in range(N_TASKS) for trial in some_trials(number)}


def assert_all_good(kb: KnowledgeBase, n_more: int = 0) -> None:
    """Everything that reads goes on, and no good record is missing."""
    assert {trial.id for trial in kb.trials()} >= GOOD
    assert len(kb.trials(learner="linear")) == len(GOOD) + n_more
    assert len(kb.tasks()) == N_TASKS
    assert kb.info()["n_trials"] >= len(GOOD)
    assert len(kb.content_hash()) == 24
    assert kb.task(f"{0:024d}") is not None


def named(caplog: pytest.LogCaptureFixture, name: str) -> int:
    """How many warnings name it."""
    return sum(name in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


# Malformed segments


def signed(values: Values, number: int = 1, of: int = 1) -> bytes:
    """A line of a segment, whose checksum fits."""
    start = json.dumps({"format": 2, "line": number, "lines": of, **values}, separators=(",", ":"))[:-1].encode()
    return start + b',"check":"' + hashlib.blake2b(start, digest_size=16).hexdigest().encode() + b'"}\n'


def trial_values(rng: random.Random) -> Values:
    return trial_to_dict(a_trial(0, SPACE.configuration({"C": rng.uniform(0.1, 9.0)})))


def task_values(rng: random.Random) -> Values:
    return task_to_dict(a_task(rng.randrange(N_TASKS)))


def with_trial(**changes: Any) -> Callable[[random.Random], bytes]:
    return lambda rng: signed({**trial_values(rng), **changes})


def with_protocol(**changes: Any) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        values = trial_values(rng)
        return signed({**values, "protocol": {**values["protocol"], **changes}})

    return make


def with_task(**changes: Any) -> Callable[[random.Random], bytes]:
    return lambda rng: signed({**task_values(rng), **changes})


def without_a_field(of: Callable[[random.Random], Values]) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        values = of(rng)
        optional = {"kind"}
        del values[rng.choice([name for name in sorted(values) if name not in optional])]
        return signed(values)

    return make


def flipped(rng: random.Random) -> bytes:
    content = bytearray(signed(trial_values(rng)))
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut(rng: random.Random) -> bytes:
    content = signed(trial_values(rng))
    return content[: rng.randrange(1, len(content) - 1)]


def swapped(rng: random.Random) -> bytes:
    lines = [signed(trial_values(rng)) for _ in range(2)]
    at = rng.randrange(20, 200)
    return lines[0][:at] + lines[1][at:]


def first_format(**changes: Any) -> Callable[[random.Random], bytes]:
    return lambda rng: json.dumps({"format": 1, **trial_values(rng), **changes}).encode() + b"\n"


def nested(rng: random.Random) -> bytes:
    depth = rng.randrange(100_000, 200_000)
    return b'{"format":1,"a":' + b"[" * depth + b"]" * depth + b"}\n"


SEGMENTS: dict[str, Callable[[random.Random], bytes]] = {
    "an empty file": lambda rng: b"",
    "nothing but line breaks": lambda rng: b"\n" * rng.randrange(1, 9),
    "text": lambda rng: b"no json\n",
    "random bytes": lambda rng: bytes(rng.randrange(11, 256) for _ in range(200)),
    "not UTF-8": lambda rng: signed(trial_values(rng)).replace(b"past", b"\xff")[:-60],
    "UTF-16": lambda rng: signed(trial_values(rng)).decode().encode("utf-16"),
    "zeros, as after a power cut": lambda rng: bytes(4096),
    "a JSON list": lambda rng: b"[1]\n",
    "a JSON number": lambda rng: b"7\n",
    "a JSON text": lambda rng: b'"format"\n',
    "JSON null": lambda rng: b"null\n",
    "a number without end": lambda rng: b'{"format":1,"n_rows":' + b"9" * rng.randrange(5000, 9000) + b"}\n",
    "a float beyond all": first_format(fit_seconds=float("inf")),
    "nesting without end": nested,
    "no format": lambda rng: json.dumps(trial_values(rng)).encode() + b"\n",
    "format 0": lambda rng: signed({**trial_values(rng), "format": 0}),
    "a format that is a text": lambda rng: signed({**trial_values(rng), "format": "2"}),
    "a format that is true": lambda rng: signed({**trial_values(rng), "format": True}),
    "no checksum": lambda rng: signed(trial_values(rng))[:-44] + b"}\n",
    "a checksum of something else": lambda rng: signed(trial_values(rng))[:-10] + b'00000000"}\n',
    "a flipped bit": flipped,
    "a flipped bit elsewhere": flipped,
    "cut in the middle": cut,
    "two writers in one file": swapped,
    "line numbers that are texts": lambda rng: signed({**trial_values(rng), "line": "one"}),
    "a trial without a field": without_a_field(trial_values),
    "a trial without another field": without_a_field(trial_values),
    "another id": with_trial(id="0" * 24),
    "no task": with_trial(task=""),
    "a task that is a number": with_trial(task=3),
    "half a character": with_trial(reason=HALF),
    "a text of absurd length": with_trial(device="x" * 100_000),
    "an unknown state": with_trial(state="splendid"),
    "a failure without a reason": with_trial(state="failed"),
    "an unknown origin": with_trial(origin="heaven"),
    "a learner that is a number": with_trial(learner=7),
    "a configuration that is a list": with_trial(configuration=[1, 2]),
    "a nested configuration": with_trial(configuration={"C": {"a": 1}}),
    "a configuration that is not finite": with_trial(configuration={"C": float("nan")}),
    "a configuration beyond 64 bits": with_trial(configuration={"C": LARGE}),
    "rows beyond 64 bits": with_trial(n_rows=LARGE),
    "negative rows": with_trial(n_rows=-1),
    "rows that are a float": with_trial(n_rows=80.0),
    "rows that are true": with_trial(n_rows=True),
    "negative seconds": with_trial(fit_seconds=-1.0),
    "endless seconds": with_trial(predict_seconds=float("inf")),
    "seconds that are a text": with_trial(fit_seconds="long"),
    "losses that are a list": with_trial(fold_losses=[0.1, 0.2, 0.3]),
    "a loss that is a text": with_trial(fold_losses={METRIC: [0.1, "0.2", 0.3]}),
    "a loss below its range": with_trial(fold_losses={METRIC: [0.1, -0.2, 0.3]}),
    "a loss above its range": with_trial(fold_losses={"roc_auc": [0.1, 1.2, 0.3]}),
    "a fold too few": with_trial(fold_losses={METRIC: [0.1, 0.2]}),
    "a fold too many": with_trial(state="pruned", fold_losses={METRIC: [0.1] * 4}),
    "no losses": with_trial(fold_losses={}),
    "a curve that goes back": with_trial(curve={"checkpoints": [10, 5], "losses": {METRIC: [0.1, 0.2]}}),
    "a curve with a gap": with_trial(curve={"checkpoints": [5, 10], "losses": {METRIC: [0.1]}}),
    "a curve that is null": with_trial(curve=None),
    "versions that are a list": with_trial(versions=["2"]),
    "a version beyond 32 bits": with_trial(space_version=2**31),
    "no folds": with_protocol(folds=0),
    "a fold and a half": with_protocol(folds=1.5),
    "a protocol with more in it": with_protocol(magic=1),
    "a task record without a field": without_a_field(task_values),
    "an unknown task type": with_task(type="cubist"),
    "classes that do not fit": with_task(n_classes=3),
    "a task record without an id": with_task(id=""),
    "meta-features that are a list": with_task(metafeatures=[1.0]),
    "a meta-feature that is a text": with_task(metafeatures={"skew": "much"}),
    "a meta-feature beyond all": with_task(metafeatures={"skew": 10**400}),
    "a negative version": with_task(metafeatures_version=-1),
    "a name with half a character": with_task(name=HALF),
}


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # Its own path is too long for a socket.
        short = Path("/tmp") / f"metahp-{os.getpid()}"
        made.bind(str(short))
        short.rename(path)


def a_large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


PLACES: dict[str, Callable[[Path], object]] = (
    {}
    if os.name != "posix"
    else {
        "a folder": lambda path: path.mkdir(),
        "a folder with something in it": lambda path: (path / "more").mkdir(parents=True),
        "a link to a good segment": lambda path: path.symlink_to(path.parent / "good.jsonl"),
        "a link to nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
        "a link to itself": lambda path: path.symlink_to(path),
        "a link to an endless file": lambda path: path.symlink_to("/dev/zero"),
        "a pipe": a_pipe,
        "a socket": a_socket,
        "a file that is too large": a_large_file,
    }
)


def beside_a_good_one(kb: KnowledgeBase) -> Trial:
    """A good segment in the journal, written before anything bad is."""
    trial = a_trial(1, SPACE.configuration({"C": 0.77}))
    kb.journal.folder.mkdir(exist_ok=True)
    (kb.journal.folder / "good.jsonl").write_bytes(next(make_segments([trial])))
    return trial


def write_bad(kb: KnowledgeBase) -> dict[str, Path]:
    """One bad segment, or other thing in the journal, of each kind."""
    kb.journal.folder.mkdir(exist_ok=True)
    paths = {kind: kb.journal.folder / f"bad-{number}.jsonl" for number, kind in enumerate((*SEGMENTS, *PLACES))}
    for kind, content in SEGMENTS.items():
        paths[kind].write_bytes(content(random.Random(kind)))
    for kind, place in PLACES.items():
        place(paths[kind])
    return paths


def test_malformed_segments_and_what_is_none_stop_nothing(kb: KnowledgeBase, caplog: pytest.LogCaptureFixture) -> None:
    beside_a_good_one(kb)
    bad = write_bad(kb)
    for _ in range(2):
        assert_all_good(kb, n_more=1)
    assert {kind: named(caplog, f"/{path.name} ") for kind, path in bad.items()} == dict.fromkeys(bad, 1)
    caplog.clear()
    content = {kind: bad[kind].read_bytes() for kind in SEGMENTS}
    other = KnowledgeBase(kb.folder)
    assert other.ingest() == 1
    assert {kind: named(caplog, f"/{path.name} ") for kind, path in bad.items()} == dict.fromkeys(bad, 1)
    caplog.clear()
    assert other.ingest() == 0
    assert_all_good(other, n_more=1)
    assert (caplog.records, other.journal.list_segments(), other.journal.list_archived()) == ([], [], [])
    for kind, path in bad.items():
        assert os.path.lexists(path.with_suffix(".unreadable")), kind
    for kind, before in content.items():
        lines = b"".join(line + b"\n" for line in before.split(b"\n") if line)
        assert bad[kind].with_suffix(".unreadable").read_bytes() == (lines or before), kind


def test_a_malformed_line_costs_no_good_line_of_its_segment(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.journal.folder.mkdir(exist_ok=True)
    lines = {}
    for number, (kind, content) in enumerate(SEGMENTS.items()):
        [lines[kind]] = content(random.Random(kind)).split(b"\n")[:1]
        good = [signed(trial_values(random.Random(10 * number + n)), n, 3) for n in (1, 3)]
        (kb.journal.folder / f"mixed-{number}.jsonl").write_bytes(good[0] + lines[kind] + b"\n" + good[1])
    assert_all_good(kb, n_more=2 * len(SEGMENTS))
    assert kb.ingest() == 2 * len(SEGMENTS)
    assert_all_good(kb, n_more=2 * len(SEGMENTS))
    for number, (kind, line) in enumerate(lines.items()):
        assert named(caplog, f"/mixed-{number}.jsonl ") == 1, kind
        aside = kb.journal.folder / f"mixed-{number}.unreadable"
        # Where the line is empty, the second of three is missing, and there is nothing to keep.
        assert (aside.read_bytes() if aside.exists() else b"") == (line + b"\n" if line else b""), kind


@pytest.mark.skipif(os.name != "posix", reason="this is no name elsewhere")
def test_a_segment_whose_name_is_not_utf8_is_ingested_like_others(kb: KnowledgeBase) -> None:
    trial = a_trial(1, SPACE.configuration({"C": 0.77}))
    kb.journal.folder.mkdir(exist_ok=True)
    (kb.journal.folder / "bad\udcff.jsonl").write_bytes(next(make_segments([trial])))
    assert_all_good(kb, n_more=1)
    assert (kb.ingest(), kb.ingest()) == (1, 0)
    assert kb.journal.list_archived() == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_segment_that_may_not_be_read_stays_and_is_named_once(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    beside_a_good_one(kb)
    locked = kb.journal.folder / "locked.jsonl"
    locked.write_bytes(signed(trial_values(random.Random(0))))
    locked.chmod(0)
    assert_all_good(kb, n_more=1)
    assert kb.ingest() == 1
    assert named(caplog, "locked.jsonl") == 1
    locked.chmod(0o600)
    assert kb.ingest() == 1


# Rows of the database that are no records

ROWS = {
    "a state unknown here": ("trials", "state = 'splendid'"),
    "an origin unknown here": ("trials", "origin = 'heaven'"),
    "a failure without a reason": ("trials", "state = 'failed'"),
    "a configuration that is a list": ("trials", "configuration = '[1]'"),
    "a nested configuration": ("trials", "configuration = '{\"C\": [1]}'"),
    "a configuration that is not finite": ("trials", "configuration = '{\"C\": 1e999}'"),
    "one fold": ("trials", "folds = 1"),
    "more folds": ("trials", "folds = 7"),
    "no repeats": ("trials", "repeats = 0"),
    "one row": ("trials", "max_rows = 1"),
    "negative rows": ("trials", "n_rows = -1"),
    "negative seconds": ("trials", "fit_seconds = -1"),
    "endless seconds": ("trials", "predict_seconds = 'infinity'"),
    "no losses": ("trials", "fold_losses = MAP {}"),
    "a loss below its range": ("trials", f"fold_losses = MAP {{'{METRIC}': [0.1, -0.1, 0.1]}}"),
    "a missing loss": ("trials", f"fold_losses = MAP {{'{METRIC}': [0.1, NULL, 0.1]}}"),
    "missing losses": ("trials", f"fold_losses = MAP {{'{METRIC}': NULL}}"),
    "a curve that goes back": ("trials", "curve_checkpoints = [-1]"),
    "a curve with a gap": ("trials", "curve_checkpoints = [1, 2]"),
    "versions that are a list": ("trials", "versions = '[]'"),
    "no task": ("trials", "task = ''"),
    "a negative version": ("trials", "space_version = -1"),
    "a task type unknown here": ("tasks", "type = 'cubist'"),
    "classes that do not fit": ("tasks", "n_classes = 3"),
    "a task with negative rows": ("tasks", "n_rows = -1"),
    "a negative version of meta-features": ("tasks", "metafeatures_version = -1"),
}


N_BAD_TRIALS = sum(table == "trials" for table, _ in ROWS.values())


def with_bad_rows(kb: KnowledgeBase) -> tuple[dict[str, str], list[Trial], list[TaskRecord]]:
    """A bad row of each kind, by its id, and the good trials and tasks that were in their places."""
    trials = [a_trial(0, SPACE.configuration({"C": 2 + n / 100})) for n in range(len(ROWS))]
    tasks = [a_task(100 + n) for n in range(len(ROWS))]
    kb.record(trials, tasks)
    kb.ingest()
    kb.ingest()
    ids = {}
    with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
        for trial, task, (kind, (table, change)) in zip(trials, tasks, ROWS.items(), strict=True):
            ids[kind] = trial.id if table == "trials" else task.task.id
            connection.execute(f"UPDATE {table} SET {change} WHERE id = ?", [ids[kind]])
    return ids, trials, tasks


def test_malformed_rows_stop_nothing(kb: KnowledgeBase, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad, trials, tasks = with_bad_rows(kb)
    for _ in range(2):
        assert {trial.id for trial in kb.trials()} == GOOD | {trial.id for trial in trials} - set(bad.values())
        assert {record.task.id for record in kb.tasks()}.isdisjoint(bad.values())
        assert len(kb.tasks()) == N_TASKS + N_BAD_TRIALS
        assert kb.info()["n_trials"] == len(GOOD) + len(ROWS)
        assert len(kb.content_hash()) == 24
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [
        f"{N_BAD_TRIALS} trial(s)",
        f"{len(ROWS) - N_BAD_TRIALS} task(s)",
    ]
    caplog.clear()
    content = kb.content()
    assert {kind: sum(key in fault for fault in content.faults) for kind, key in bad.items()} == dict.fromkeys(bad, 1)
    assert merge(KnowledgeBase(tmp_path / "fresh"), kb.file) == len(GOOD) + len(ROWS) - N_BAD_TRIALS
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [f"{len(ROWS)} record(s)"]
    # Good records, where they come again, take the places of the bad rows.
    kb.record(trials, tasks)
    assert kb.ingest() == N_BAD_TRIALS
    caplog.clear()
    assert {trial.id for trial in KnowledgeBase(kb.folder).trials()} == GOOD | {trial.id for trial in trials}
    assert len(KnowledgeBase(kb.folder).tasks()) == N_TASKS + len(ROWS)
    assert caplog.records == []


def test_a_sum_of_ids_that_is_no_number_is_added_up_anew(kb: KnowledgeBase) -> None:
    before = kb.content_hash()
    with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
        connection.execute("UPDATE meta SET value = 'much' WHERE key = 'content'")
    assert kb.content_hash() == before
    assert_all_good(kb)
    kb.record([a_trial(1, SPACE.configuration({"C": 0.77}))])
    pending = kb.content_hash()
    kb.ingest()
    assert kb.content_hash() == pending != before


# Records that are valid, and of no use


def trial_of(number: int, values: Values | None = None, **changes: Any) -> Callable[[KnowledgeBase], object]:
    configuration = Configuration.of("linear", {**SPACE.configuration({"C": 0.3}).values, **(values or {})})
    return lambda kb: kb.record([a_trial(number, configuration, **changes)])


def task_of(**changes: Any) -> Callable[[KnowledgeBase], object]:
    metafeatures = changes.pop("metafeatures", {})
    trials = [replace(trial, task=f"{99:024d}") for trial in some_trials(0)]
    return lambda kb: kb.record(trials, [a_task(99, metafeatures=metafeatures, **changes)])


def without_baseline(kb: KnowledgeBase) -> None:
    record = a_task(99)
    kept = {name: value for name, value in record.metafeatures.items() if not name.startswith("baseline")}
    kb.record([replace(trial, task=record.task.id) for trial in some_trials(0)], [replace(record, metafeatures=kept)])


# What is recorded, and how many trials or tasks a warning counts.
USELESS: dict[str, tuple[Callable[[KnowledgeBase], object], int]] = {
    "a value outside its space": (trial_of(0, {"C": 1e99}), 1),
    "a value of another type": (trial_of(0, {"C": "much"}), 1),
    "a value that is missing there": (trial_of(0, {"C": None}), 1),
    # It may be one that another version of the space has.
    "a hyperparameter unknown here": (trial_of(0, {"magic": 1}), 0),
    "another metric": (trial_of(0, fold_losses={"accuracy": (0.1, 0.2, 0.3)}), 0),
    "an unknown metric": (trial_of(0, fold_losses={"magic": (-1.0, 0.2, 0.3)}), 1),
    "a loss that is not known": (trial_of(0, fold_losses={METRIC: (float("nan"),) * 3}), 0),
    "a loss without a bound": (trial_of(0, fold_losses={METRIC: (float("inf"),) * 3}), 0),
    "a loss of absurd size": (trial_of(0, fold_losses={METRIC: (1e308,) * 3}), 0),
    "a loss of nothing": (trial_of(0, fold_losses={METRIC: (0.0,) * 3}), 0),
    "thirty years": (trial_of(0, fit_seconds=1e9), 0),
    "a curve of absurd size": (trial_of(0, curve=Curve((1, 2**31 - 1), {METRIC: (1e308, 1e300)})), 0),
    "another protocol": (trial_of(0, protocol=Protocol(seed=-5)), 0),
    "a learner unknown here": (
        lambda kb: kb.record([a_trial(0, Configuration.of("magic", {"C": 1.0}), origin=Origin.DEFAULT)]),
        0,
    ),
    "a task unknown here": (trial_of(77), 0),
    "a task without rows": (task_of(n_rows=0), 1),
    "a task without features": (task_of(n_features=0), 1),
    "a task of absurd size": (task_of(n_rows=2**63 - 1, n_features=2**63 - 1), 0),
    "a task without a baseline": (without_baseline, 1),
    "a baseline that is not finite": (task_of(metafeatures={f"baseline:{METRIC}": float("inf")}), 0),
    "a baseline of nothing": (task_of(metafeatures={f"baseline:{METRIC}": 0.0}), 0),
    "a negative baseline": (task_of(metafeatures={f"baseline:{METRIC}": -1.0}), 0),
    "meta-features that are not finite": (task_of(metafeatures=dict.fromkeys(NAMES[:9], float("inf"))), 0),
    "meta-features of absurd size": (task_of(metafeatures=dict.fromkeys(NAMES[:9], -1e308)), 0),
    "meta-features unknown here": (task_of(metafeatures={"magic": 1.0}), 0),
}


def evidence_of(kb: KnowledgeBase) -> Any:
    return measure_past(kb.tasks(), TrialColumns.of(kb.trials()), TaskType.BINARY, ["linear"]).evidence(
        METRIC, ["linear"]
    )


@pytest.mark.parametrize("kind", USELESS)
def test_a_record_of_no_use_is_left_out_of_what_is_learned(
    kb: KnowledgeBase, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, n_left_out = USELESS[kind]
    make(kb)
    assert set(find_known_learners(kb.info())) <= set(LEARNERS)
    past = evidence_of(kb)
    assert {task.id for task in past.tasks} >= {f"{number:024d}" for number in range(N_TASKS)}
    assert np.isfinite(past.constants).all()
    assert (past.constants > 0).all()
    assert not np.isinf(past.metafeatures).any()
    assert named(caplog, f"{n_left_out} trial(s)") + named(caplog, f"{n_left_out} past task(s)") == bool(n_left_out)


def test_no_bad_record_ends_a_recommendation(
    kb: KnowledgeBase, frame: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    """All kinds of segments, rows and useless records at once, beside the good ones."""
    for make, _ in USELESS.values():
        make(kb)
    with_bad_rows(kb)
    bad = write_bad(kb)
    caplog.clear()
    assert len(recommended(KnowledgeBase(kb.folder), frame)) == 2
    assert {kind: named(caplog, f"/{path.name} ") for kind, path in bad.items()} == dict.fromkeys(bad, 1)
    assert named(caplog, f"{len(ROWS) - N_BAD_TRIALS} task(s) of {kb.file} are not valid") == 1
    assert named(caplog, f"{N_BAD_TRIALS} trial(s) of {kb.file} are not valid") == 1
    assert len(SEGMENTS) + len(PLACES) + len(ROWS) + len(USELESS) + len(MODELS) > 130


@pytest.mark.parametrize("kind", ["a value outside its space", "a loss of absurd size"])
def test_bad_trials_of_the_very_table_are_not_recommended(
    kb: KnowledgeBase, frame: pd.DataFrame, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = metahp.load(frame, target="target").task.id
    good = [replace(trial, task=task, n_rows=n_rows) for trial, n_rows in zip(some_trials(0), (60, 0), strict=False)]
    bad = {"a value outside its space": {"C": 1e99}, "a loss of absurd size": {"C": 0.3}}[kind]
    configuration = Configuration.of("linear", {**SPACE.default.values, **bad})
    losses = {METRIC: (1e308,) * 3 if "absurd" in kind else (0.0,) * 3}
    kb.record([*good, replace(a_trial(0, configuration, fold_losses=losses), task=task)])
    assert set(recommended(kb, frame)) == {trial.configuration for trial in good}
    assert named(caplog, "1 trial(s) of this table") == (kind == "a value outside its space")


# Kept models that cannot be used


@dataclass(frozen=True)
class Kept:
    """A seed's folder that has the trained model of the tiny knowledge base, the model's file, and what it advises."""

    folder: Path
    model: Path
    advised: list[Configuration]


@pytest.fixture(scope="module")
def kept(built: Path, frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept") / "kb"
    shutil.copytree(built, folder)
    with pytest.MonkeyPatch.context() as bare:
        bare.setattr(seed, "_FOLDERS", (folder / "no seed",))
        advised = recommended(KnowledgeBase(folder), frame)
    [model] = (folder / cache.FOLDER_NAME).glob("*-model-*")
    (folder / seed.TASKS_FILE).write_bytes(b"")
    return Kept(folder, model, advised)


def with_arrays(changes: dict[str, Any]) -> Callable[[Path, Path, random.Random], None]:
    """The same model with some arrays changed: None leaves one out."""

    def make(good: Path, bad: Path, rng: random.Random) -> None:
        with np.load(good) as file:
            arrays = dict(file)
        arrays |= {name: change(arrays[name]) if callable(change) else change for name, change in changes.items()}
        np.savez(bad, **{name: array for name, array in arrays.items() if array is not None})

    return make


def with_bytes(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Path, Path, random.Random], None]:
    return lambda good, bad, rng: bad.write_bytes(change(good.read_bytes(), rng)) and None


def a_flipped_bit(content: bytes, rng: random.Random) -> bytes:
    # In the middle of the longest array, which the archive has a checksum of.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        longest = max(archive.infolist(), key=lambda member: member.compress_size)
    place = longest.header_offset + len(longest.FileHeader()) + longest.compress_size // 2
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def a_bomb(good: Path, bad: Path, rng: random.Random) -> None:
    """A header that asks for more memory than there is, and has nothing to show for it."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 1024), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("residuals.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def objects(good: Path, bad: Path, rng: random.Random) -> None:
    np.savez(bad, about=np.array([{}], dtype=object), allow_pickle=True)


def text(content: str) -> np.ndarray:
    return np.frombuffer(content.encode(), dtype=np.uint8)


MODELS: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "an empty file": with_bytes(lambda content, rng: b""),
    "text": with_bytes(lambda content, rng: b"no model"),
    "cut": with_bytes(lambda content, rng: content[: rng.randrange(1, len(content))]),
    "a flipped bit": with_bytes(a_flipped_bit),
    "zeros, as after a power cut": with_bytes(lambda content, rng: bytes(len(content))),
    "a bomb": a_bomb,
    "Python objects": objects,
    "no arrays": lambda good, bad, rng: np.savez(bad),
    "other keys": with_arrays({"tasks": None, "story": np.ones(3)}),
    "no length scales": with_arrays({"meta/length_scales": None}),
    "length scales of another shape": with_arrays({"meta/length_scales": np.ones((2, 3))}),
    "length scales of texts": with_arrays({"meta/length_scales": np.array(["a", "b"])}),
    "averages of fewer candidates": with_arrays({"meta/averages": lambda array: array[:1]}),
    "a forest of fewer nodes": with_arrays({"meta/forest_left": lambda array: array[:0]}),
    "middles of another shape": with_arrays({"meta/forest_middle": np.ones(3)}),
    "settings that are too few": with_arrays({"meta/settings": np.ones(2)}),
    "residuals without a shape": with_arrays({f"validation/{METRIC}/residuals": np.array(1.0)}),
    "a story that is no JSON": with_arrays({"meta/about": text("{")}),
    "tasks that are none": with_arrays({"tasks": text("3")}),
    "levels that are no JSON": with_arrays({f"levels/{METRIC}": text("{")}),
    "levels that are no models": with_arrays({f"levels/{METRIC}": text('{"linear": "no model"}')}),
    "no model inside": with_arrays({"meta/surrogate": text("no model")}),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_kept_model_that_fails_is_not_used(
    kb: KnowledgeBase,
    kept: Kept,
    frame: pd.DataFrame,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(seed, "_FOLDERS", (kept.folder,))
    bad = cache.make_cache_path(kb.folder, kept.model.stem)
    bad.parent.mkdir()
    MODELS[kind](kept.model, bad, random.Random(kind))
    assert recommended(kb, frame) == kept.advised
    assert named(caplog, str(bad)) == 1


def test_a_kept_model_that_fails_is_trained_again_and_then_works(
    kb: KnowledgeBase, kept: Kept, frame: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    bad = cache.make_cache_path(kb.folder, kept.model.stem)
    bad.parent.mkdir()
    MODELS["length scales of another shape"](kept.model, bad, random.Random(0))
    assert recommended(kb, frame) == kept.advised
    assert named(caplog, str(bad)) == 1
    caplog.clear()
    assert recommended(kb, frame) == kept.advised
    assert caplog.records == []


def test_a_folder_in_the_place_of_a_kept_model_stops_nothing(
    kb: KnowledgeBase, kept: Kept, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed, "_FOLDERS", (kept.folder,))
    cache.make_cache_path(kb.folder, kept.model.stem).mkdir(parents=True)
    assert recommended(kb, frame) == kept.advised


@pytest.mark.parametrize("days", [-1, 0, 3650])
def test_a_file_from_the_future_is_pruned_and_is_not_the_newest(kb: KnowledgeBase, days: int) -> None:
    for number in range(3):
        path = cache.save(kb.folder, f"key-{number}", {"a": np.full(2, number)})
        assert path is not None
        at = path.stat().st_mtime - 1000 + number
        os.utime(path, (at, at))
    future = cache.make_cache_path(kb.folder, "key-0")
    os.utime(future, (future.stat().st_mtime + days * 86_400,) * 2)
    assert [path.stem for path, _ in cache.find_newest(kb.folder, "key-*")] == ["key-2", "key-1", "key-0"]
    written = cache.save(kb.folder, "key-3", {"a": np.ones(2)}, newest_kept=2)
    assert written is not None
    assert sorted(path.stem for path in written.parent.iterdir()) == ["key-2", "key-3"]


def test_a_file_that_was_just_written_stays_however_wrong_the_clock_is(kb: KnowledgeBase) -> None:
    for number in range(3):
        path = cache.save(kb.folder, f"key-{number}", {"a": np.ones(2)}, newest_kept=1)
        assert path is not None
        assert [file.stem for file in path.parent.iterdir()] == [f"key-{number}"]


def test_a_damaged_database_ends_in_one_line(kb: KnowledgeBase, frame: pd.DataFrame) -> None:
    content = bytearray(kb.file.read_bytes())
    rng = random.Random(0)
    for _ in range(20):
        changed = bytearray(content)
        for _ in range(200):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        kb.file.write_bytes(changed)
        assert kb.verify()
        with pytest.raises(KnowledgeBaseError) as caught:
            kb.trials()
        assert "\n" not in str(caught.value)


def test_kb_info_tells_damage_and_what_to_do(kb: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["kb", "info", "--kb", str(kb.folder)]
    assert main(command) == 0
    assert "damage: none found (every page in use was read)" in capsys.readouterr().out
    with kb.file.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"damaged")
    for form in ("table", "json"):
        assert main([*command, "--format", form]) == 1
        said = capsys.readouterr()
        assert "its bytes do not fit their checksum" in said.out
        assert str(kb.file) in said.out
        [line] = said.err.splitlines()
        assert re.search(r"metahp: .* is damaged\. Replace it by a backup, or move it away", line)
    assert json.loads(said.out)["damage"]
