"""Runs `metahp` and sends this process a signal at one moment: `python moments.py MOMENT SIGNAL WORD …`.

A moment is the n-th call of a function, which is looked up by its dotted name; the signal comes before the call, or
after it where the name ends in `!`. The program is the real one: nothing else is changed.
"""

import os
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

MOMENTS = {
    "opening the result": ("metahp.results.directory._check_space", 1),
    "reading the table": ("metahp.datasets.read._read", 1),
    "describing": ("metahp.api.tuning.describe_table", 1),
    "training": ("metahp.surrogate.metamodel.MetaModel.fit", 2),
    "recording the task": ("metahp.knowledge.journal.Journal.append", 1),
    "starting a worker": ("metahp.evaluation.worker_process.WorkerProcess.__init__", 1),
    "submitting a trial": ("metahp.evaluation.processes.TrialProcesses.submit", 2),
    "waiting for a trial": ("metahp.evaluation.processes.TrialProcesses.await_outcome", 2),
    "writing predictions": ("metahp.study.trial_folder.TrialFolder.write_predictions", 2),
    "trial in the result directory": ("metahp.study.trial_folder.TrialFolder.append!", 2),
    "inside an early fsync": ("os.fsync", 2),
    "inside an fsync of a trial": ("os.fsync", 8),
    "inside a rename": ("os.replace", 3),
    "telling the progress": ("metahp.study.run.find_progress", 3),
    "closing the workers": ("metahp.evaluation.processes.TrialProcesses.close", 1),
    "choosing an ensemble": ("metahp.study.table.choose_ensemble", 1),
    "the final fit": ("metahp.results.model.fit_final", 1),
    "staging the result": ("metahp.results.directory.write_files", 1),
    "replacing a result": ("metahp.results.directory._replace", 1),
    "inside the replacement": ("pathlib.Path.replace", 2),
    "inside the ingest": ("metahp.knowledge.queries.insert", 1),
    "ingested": ("metahp.knowledge.queries.mark_ingested!", 1),
    "reporting": ("metahp.cli.tune.format_report", 1),
}
# A run of its own that nothing ends.
NEVER = "never"
OF_RECOMMEND = {
    "describing for advice": ("metahp.api.advice.describe_table", 1),
    "training": MOMENTS["training"],
    "keeping what the next question needs": ("metahp.knowledge.cache.save", 1),
    "printing": ("metahp.cli.output.write_rich", 1),
}
OF_REFRESH = {
    "measuring": ("metahp.evaluation.processes.TrialProcesses._await_outcome", 3),
    "taking in": ("metahp.knowledge.database.transaction!", 1),
    "describing tables": ("metahp.evaluation.runner.Runner.call!", 1),
    "inside the seed": ("os.replace", 12),
}


def arrange(moment: str, number: int) -> None:
    """Let the signal come at that moment."""
    path, count = {**MOMENTS, **OF_RECOMMEND, **OF_REFRESH}[moment]
    owner, name = _owner(path.removesuffix("!"))
    original = getattr(owner, name)
    calls = 0

    def watched(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        # Calls in other threads count on meanwhile.
        is_it = calls == count
        if is_it and not path.endswith("!"):
            os.kill(os.getpid(), number)
        result = original(*arguments, **named)
        if is_it and path.endswith("!"):
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, watched)


def _owner(path: str) -> tuple[Any, str]:
    """The module or class that has the function, and the function's name in it."""
    *parents, name = path.split(".")
    for length in range(len(parents), 0, -1):
        try:
            owner: Any = import_module(".".join(parents[:length]))
        except ModuleNotFoundError:
            continue
        for parent in parents[length:]:
            owner = getattr(owner, parent)
        return owner, name
    raise ModuleNotFoundError(path)


if __name__ == "__main__":
    # A shell that started the tests in the background has them ignore the interrupt, and so would their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if sys.argv[1] != NEVER:
        arrange(sys.argv[1], getattr(signal, sys.argv[2]))
    if sys.argv[3] == "refresh":
        scripts = Path(__file__).parents[2] / "scripts"
        sys.path.insert(0, str(scripts))
        sys.argv[:] = sys.argv[3:]
        runpy.run_path(str(scripts / "refresh_knowledge_base.py"), run_name="__main__")
    from metahp.cli.main import main

    sys.exit(main(sys.argv[3:]))
