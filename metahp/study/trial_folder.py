"""The folder of a study in a result directory: its trials, their order and their out-of-fold predictions."""

import io
import json
import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.trial import Trial
from metahp.files import sweep, write_file
from metahp.knowledge.journal import Journal
from metahp.learners.arguments import make_arguments

logger = logging.getLogger(__name__)

BEST_SO_FAR, FIXED, SCORER = "best_so_far.json", "fixed.json", "scorer.json"
_ARCHIVE_NAME = re.compile(r"(\d{1,9})-([0-9a-f]+)\.npz")
# This module writes no larger archive of predictions; unpacked, a larger one could fill the memory.
MAX_ARCHIVE_BYTES = 1 << 26


def keep_scorer(folder: Path, task: str, identity: str) -> None:
    """Note the scorer of a study in its folder.

    Raises:
        InputError: trials of the task were scored by another function with the same name, or it cannot be written.
    """
    path, name = folder / SCORER, identity.rpartition("-")[0]
    try:
        kept = json.loads(path.read_bytes()) if path.exists() else {}
        earlier = str(kept.get("scorer", "")) if kept.get("task") == task else ""
    except (OSError, ValueError, AttributeError):
        earlier = ""
    if name and earlier != identity and earlier.rpartition("-")[0] == name:
        raise InputError(
            f"The trials in '{folder.parent}' were scored by another function that is called {name} too. Give the "
            "same one, another name, or another `output`.",
            argument="metric",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, (json.dumps({"task": task, "scorer": identity}) + "\n").encode())
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}).", argument="output") from error


class TrialFolder:
    """A journal of the trials, and an archive of predictions for each: `NUMBER-ID.npz`, numbered as trials finished.

    `best_so_far.json` has the best trial while a study runs.

    Args:
        folder: Where they lie; it is made with the first trial.
        fixed: What the user fixed in all trials, as JSON data by learner; kept as `fixed.json`.

    Raises:
        InputError: the folder has trials with other fixed arguments.
    """

    def __init__(self, folder: Path, fixed: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._journal = Journal(folder / "journal")
        self._numbers = self._read_numbers()
        self._fixed = dict(fixed or {})
        self._check_fixed()
        self._next_number = max(self._numbers.values(), default=-1) + 1

    def read_trials(self) -> list[Trial]:
        """All readable trials, of any task and protocol."""
        return list(self._journal.read_trials())

    def find_number(self, trial_id: str) -> int:
        """The number of the archive of a trial; -1 where it has none."""
        return self._numbers.get(trial_id, -1)

    def append(self, trials: Sequence[Trial]) -> None:
        """Add trials to the journal.

        Raises:
            InputError: they cannot be written.
        """
        try:
            if self._fixed and not (self._folder / FIXED).exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                write_file(self._folder / FIXED, (json.dumps(self._fixed, indent=2) + "\n").encode())
            self._journal.append(trials)
        except OSError as error:
            raise self._explain(error) from error

    def write_predictions(self, trial_id: str, predictions: np.ndarray | None) -> None:
        """Write the next archive; one without predictions keeps the order all the same, by its name.

        Raises:
            InputError: it cannot be written.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {} if predictions is None else {"predictions": predictions}
        np.savez(buffer, **arrays)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._make_path(self._next_number, trial_id), buffer.getvalue())
        except OSError as error:
            raise self._explain(error) from error
        self._numbers[trial_id] = self._next_number
        self._next_number += 1

    def write_best(self, trial: Trial, metric: Metric, n_trials: int) -> None:
        """Say which trial is the best so far, for those who look in before the end, or after a kill.

        Raises:
            InputError: it cannot be written.
        """
        content = {
            "learner": trial.configuration.learner,
            "configuration": make_arguments(trial.configuration),
            "metric": metric.name,
            "score": metric.score(trial.loss(metric.name)),
            "trials": n_trials,
            "rows": trial.n_rows,
        }
        try:
            write_file(self._folder / BEST_SO_FAR, (json.dumps(content, indent=2) + "\n").encode())
        except OSError as error:
            raise self._explain(error) from error

    def read_predictions(self, trial_id: str) -> np.ndarray | None:
        """The predictions of a trial; None where it has none, or where they cannot be read, with a logged warning."""
        number = self._numbers.get(trial_id)
        if number is None:
            return None
        path = self._make_path(number, trial_id)
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_ARCHIVE_BYTES:
                    raise ValueError(f"more than {MAX_ARCHIVE_BYTES >> 20} MiB when unpacked")
            with np.load(path, allow_pickle=False) as content:
                predictions = content.get("predictions")
            if predictions is not None and predictions.dtype != np.float32:
                raise ValueError(f"expected float32, found {predictions.dtype}")
            return predictions
        except Exception as error:
            # A damaged archive fails in as many ways as zip and numpy have formats; the trial itself is on record.
            logger.warning("%s cannot be read (%s): its trial takes no part in the ensemble", path, error)
            return None

    def _read_numbers(self) -> dict[str, int]:
        if not self._folder.is_dir():
            return {}
        sweep(self._folder)
        names = [_ARCHIVE_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return {name[2]: int(name[1]) for name in names if name}

    def _check_fixed(self) -> None:
        if not self._numbers:
            return
        path = self._folder / FIXED
        try:
            kept = json.loads(path.read_bytes()) if path.exists() else {}
            is_same = kept == {} if not self._fixed else all(kept[name] == self._fixed[name] for name in self._fixed)
        except (OSError, ValueError, TypeError, KeyError):
            kept, is_same = None, False
        if not is_same:
            earlier = "others" if kept is None else json.dumps(kept)
            raise InputError(
                f"The trials in '{self._folder.parent.parent}' have the fixed arguments {earlier}, this call has "
                f"{json.dumps(self._fixed)}. Give the same `fixed`, or another `output`.",
                argument="fixed",
            )

    def _make_path(self, number: int, trial_id: str) -> Path:
        return self._folder / f"{number:05d}-{trial_id}.npz"

    def _explain(self, error: OSError) -> InputError:
        return InputError(
            f"'{self._folder}' cannot be written ({error.strerror}); "
            "name a directory that you may write to, on a disk with space left."
        )
