"""Merging: the trials and tasks of another knowledge base, or of a seed folder, join this one."""

from collections.abc import Sequence
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial, TrialState
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import TASKS_FILE, read_seed
from metahp.knowledge.store import KnowledgeBase


def merge(kb: KnowledgeBase, other_path: Path) -> int:
    """Add what `other_path` holds (a knowledge base, its folder, or a seed folder) to `kb`; how many trials were new.

    A set union: merging twice, or in another order, ends in the same set. The other side is not trusted: its columns
    are checked and every value passes through the classes of the domain before anything is written. Its journal
    counts, and is left as it is.

    Raises:
        KnowledgeBaseError: there is no knowledge base at `other_path`, or a value of it is not valid.
    """
    tasks, trials = _content(Path(other_path).expanduser())
    for trial in trials:
        _check(trial, other_path)
    # What this knowledge base measured itself comes first, also where it still waits in the journal.
    kb.ingest()
    return kb.add(tasks, trials_to_table(trials))


def _content(path: Path) -> tuple[Sequence[TaskRecord], Sequence[Trial]]:
    if (path / TASKS_FILE).is_file():
        return read_seed(path)
    other = KnowledgeBase(path)
    if not other.file.is_file() and not other.journal.segments():
        raise KnowledgeBaseError(
            f"There is no knowledge base at {path}: expected a DuckDB file, a folder with "
            f"{other.file.name}, or a seed folder with {TASKS_FILE}."
        )
    return other.tasks(), other.trials()


def _check(trial: Trial, path: Path) -> None:
    """What a `Trial` lets pass because metahp never makes it, and someone else's file may still hold."""
    n_folds = trial.protocol.folds * trial.protocol.repeats
    wrong = [name for name, losses in trial.fold_losses.items() if len(losses) != n_folds]
    if trial.state is TrialState.COMPLETE and wrong:
        raise KnowledgeBaseError(
            f"{path}: trial {trial.id} has {len(trial.fold_losses[wrong[0]])} losses of "
            f"{wrong[0]}, expected {n_folds}, one per fold and repeat. Nothing was merged."
        )
    if not trial.task or not trial.configuration.learner or trial.n_rows < 0:
        raise KnowledgeBaseError(
            f"{path}: trial {trial.id} has no task, no learner or a negative number of rows. Nothing was merged."
        )
    if not (trial.fit_seconds >= 0 and trial.predict_seconds >= 0):
        raise KnowledgeBaseError(
            f"{path}: trial {trial.id} took {trial.fit_seconds} s to fit and "
            f"{trial.predict_seconds} s to predict; expected 0 or more. Nothing was merged."
        )
