"""`metahp tune FILE`: tune hyperparameters on a table, and write the tuned model."""

import math
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahp.cli import options, output, phrases, startup
from metahp.cli.reading import reads_table
from metahp.core.text import format_count
from metahp.datasets.reading import ReadingOptions

if TYPE_CHECKING:
    from metahp.study.progress import Progress
    from metahp.study.result import Plan, TuneResult

# Without a terminal every new best trial gets a line; between other lines are at least so many seconds.
SECONDS_BETWEEN_LINES = 5.0
# Columns of a terminal with room for a long bar.
WIDE = 120
_ENDED = {
    "timeout": "time limit reached",
    "patience": "no improvement within the patience",
    "flat": "more trials are expected to bring too little",
    "exhausted": "no configuration left to try",
    "interrupted": "interrupted; run the same command again to continue",
}


@reads_table
def tune(
    file: options.File,
    reading: ReadingOptions,
    target: options.Target = None,
    task: options.Task = None,
    metric: options.Metric = None,
    learner: options.Learners = None,
    trials: Annotated[int, typer.Option("--trials", help="Number of trials, including those of earlier runs.")] = 50,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds for the whole run.  [default: no limit]")
    ] = None,
    trial_timeout: Annotated[
        float, typer.Option("--trial-timeout", help="Seconds per trial over all folds; a longer trial is stopped.")
    ] = 300.0,
    memory_limit: Annotated[
        float, typer.Option("--memory-limit", help="MiB of memory per trial; a larger trial is stopped.")
    ] = 4096.0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Number of trials that run at the same time.")] = 1,
    device: Annotated[
        str, typer.Option("--device", help="Device of the strategy transfer: auto, cpu or cuda.")
    ] = "auto",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Search strategy: transfer, random, grid, tpe, gp, cmaes or nsga2.")
    ] = "transfer",
    cold: Annotated[bool, typer.Option("--cold", help="Do not use past tasks.")] = False,
    warm: Annotated[
        int | None,
        typer.Option(
            "--warm", help="Number of recommended configurations to try first.  [default: 3 for transfer, else 10]"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Random seed of folds, models and strategy; a new seed starts anew.")
    ] = 0,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Do not add the trials to the knowledge base.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Result directory.  [default: name of FILE with .metahp]")
    ] = None,
    cv: Annotated[
        int | None, typer.Option("--cv", help="Number of cross-validation folds.  [default: 5; 3 above 10,000 rows]")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Group column: rows of a group stay in one fold. Not a feature.")
    ] = None,
    by_time: Annotated[
        str | None, typer.Option("--time", help="Time column: train on earlier rows, test on later ones.")
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option("--test-size", help="Share of the rows to set aside before tuning, for an unbiased score."),
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option("--max-rows", help="Run the trials on a sample of this many rows.  [default: all]")
    ] = None,
    weight: options.Weight = None,
    attempt: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="Configuration to try first: key=value,… or learner:key=value,…; repeat for several.",
        ),
    ] = None,
    fixed: options.Fixed = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Write the ensemble instead of the best single model.")
    ] = False,
    voting: Annotated[
        bool, typer.Option("--voting", help="Let the members of the ensemble vote instead of averaging.")
    ] = False,
    patience: Annotated[
        int | None,
        typer.Option("--patience", help="Stop after this number of trials without improvement.  [default: no limit]"),
    ] = None,
    stop_when_flat: Annotated[
        bool, typer.Option("--stop-when-flat", help="Stop where more trials are expected to bring very little.")
    ] = False,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Do not stop trials that look hopeless.")] = False,
    no_early_stopping: Annotated[
        bool, typer.Option("--no-early-stopping", help="Keep all boosting iterations of every trial.")
    ] = False,
    kb: options.KnowledgeBasePath = None,
    budget_seconds: options.Budget = 2.0,
    quiet: options.Quiet = False,
) -> int:
    """Tune hyperparameters on the table in FILE.

    Starts from recommended configurations and writes the tuned model to the result directory. Run the same command
    again to continue.
    """
    begun = time.monotonic()
    output.set_quiet(quiet=quiet)
    startup.check_names(
        file,
        learners=learner,
        target=target,
        task=task,
        metric=metric,
        groups=group,
        time=by_time,
        sample_weight=weight,
    )
    from metahp.evaluation import interrupts

    api = startup.import_api()
    directory = out or Path(_make_directory_name(file))
    if out is None:
        from metahp.results.owner import check_is_of

        check_is_of(directory, file)
    progress = _Display(quiet=quiet)
    with progress:
        result = api.tune(
            file if not reading.given else api.read(file, **reading.arguments),
            target=target,
            task=task,
            metric=metric,
            learners=learner or None,
            trials=trials,
            timeout=_find_rest(timeout, begun),
            trial_timeout=trial_timeout,
            memory_limit=memory_limit,
            jobs=jobs,
            device=device,
            strategy=strategy,
            cold=cold,
            warm=warm,
            seed=seed,
            knowledge_base=kb,
            record=not no_record,
            output=directory,
            cv=cv,
            groups=group,
            time=by_time,
            test_size=test_size,
            max_rows=max_rows,
            sample_weight=weight,
            configurations=attempt or (),
            fixed=fixed,
            ensemble=ensemble,
            voting=voting,
            patience=patience,
            stop_when_flat=stop_when_flat,
            prune=not no_prune,
            early_stopping=not no_early_stopping,
            budget_seconds=budget_seconds,
            command=shlex.join(["metahp", *sys.argv[1:]]),
            on_trial=progress.show,
            on_start=progress.begin,
        )
    progress.warn(result.warnings)
    output.write_report("".join(f"{line}\n" for line in format_report(result, is_ensemble=ensemble)))
    return output.Reported(interrupts.get_exit_code()) if result.ended == "interrupted" else 0


def _find_rest(timeout: float | None, begun: float) -> float | None:
    """What is left of a time limit, which the start of the command counts towards; a wrong one stays as it is."""
    if timeout is None or not timeout > 0:
        return timeout
    return max(timeout - (time.monotonic() - begun), 0.1 * timeout)


def _make_directory_name(file: str) -> str:
    if file == "-":
        return "stdin.metahp"
    name = Path(file).name
    stem = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    return f"{Path(stem).stem}.metahp"


class _Display:
    """Progress of a run on standard error: a bar on a terminal, else some lines; nothing if `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._is_live = not quiet and output.is_live()
        self._last = -math.inf
        self._said: tuple[str, ...] = ()
        self._waiting = output.show_spinner("searching the knowledge base", quiet=quiet)
        self._close: Callable[[], None] = lambda: None
        self._update: Callable[[Progress], None] = lambda progress: None

    def __enter__(self) -> "_Display":
        self._waiting.__enter__()

        def close() -> None:
            self._waiting.__exit__(None, None, None)

        self._close = close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, plan: "Plan") -> None:
        """Print the plan of the run, and start the bar."""
        self._close()
        self._close = lambda: None
        output.warn(plan.warnings, quiet=self._quiet)
        self._said = plan.warnings
        if self._quiet:
            return
        output.say("\n".join(format_plan(plan)))
        if self._is_live:
            self._open_bar(plan.n_trials)

    def warn(self, messages: tuple[str, ...]) -> None:
        """Print the warnings of a result that were not known when it began."""
        output.warn((message for message in messages if message not in self._said), quiet=self._quiet)

    def show(self, progress: "Progress") -> None:
        """Show a finished trial."""
        from metahp.study.progress import format_outlook, format_time_left, format_trial

        if self._is_live:
            self._update(progress)
        elif not self._quiet and progress.trial is not None:
            now = time.monotonic()
            is_news = progress.n_done in (progress.best_number, progress.n_trials)
            if is_news or now - self._last >= SECONDS_BETWEEN_LINES:
                self._last = now
                parts = (
                    f"trial {progress.n_done}/{progress.n_trials}",
                    format_trial(progress),
                    format_time_left(progress),
                    format_outlook(progress.outlook),
                )
                output.say("  ".join(filter(None, parts)))

    def _open_bar(self, n_trials: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        console = Console(stderr=True)
        count = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(n_trials)) + 1))
        text = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        width = 20 if console.width >= WIDE else 8
        bar = Bar(BarColumn(width), count, text, console=console, expand=True)
        bar.start()
        self._close = bar.stop
        row = bar.add_task("", total=n_trials)

        def update(progress: "Progress") -> None:
            line = fit_progress(progress, console.width - width - len(f"{n_trials}/{n_trials}") - 2)
            bar.update(row, completed=progress.n_done, description=line)

        self._update = update


def format_plan(plan: "Plan") -> list[str]:
    """Lines about the plan of a run: the table, how trials are measured, and where the search starts."""
    more = "more row" if plan.n_test_rows == 1 else "more rows"
    outer = f" · {plan.n_test_rows:,} {more} set aside for the test" if plan.n_test_rows else ""
    sample = f" on {plan.protocol.max_rows:,} rows" if plan.protocol.max_rows < plan.table.task.n_rows else ""
    kind = {"": "", "group": " by group", "time": " by time", "weighted": " of weighted rows"}.get(
        plan.protocol.split_name.partition(":")[0], " of your own"
    )
    lines = [
        f"{phrases.format_table(plan.table, plan.file)}{outer}",
        f"metric {phrases.format_metric(plan.metric, plan.table)}, {plan.protocol.folds} folds{kind}{sample}",
        *([f"fixed: {plan.fixed}"] if plan.fixed else []),
    ]
    if plan.n_earlier >= plan.n_trials:
        return [*lines, f"{_format_trials(plan)}; ask for more with --trials"]
    start = (
        "library defaults and configurations that are good in general first, while past tasks are asked"
        if plan.is_learning
        else f"starts from {format_count(plan.n_warm, 'recommended configuration')}, "
        f"learned from {format_count(plan.n_past_tasks, 'past task')}"
        if plan.n_warm
        else "starts from library defaults"
    )
    device = f" on {plan.device}" if plan.device else ""
    journal = (
        "results are added to your knowledge base"
        if plan.is_recorded
        else "results are not added to your knowledge base"
    )
    return [*lines, f"{start} · strategy {plan.strategy}{device}", f"{_format_trials(plan)} · {journal}"]


def _format_trials(plan: "Plan") -> str:
    from metahp.study.progress import format_plan as format_number

    return format_number(plan.n_trials, plan.n_earlier)


def fit_progress(progress: "Progress", width: int) -> str:
    """The most that is known of a run and fits into `width` columns: nothing of it is cut."""
    from metahp.study.progress import format_outlook, format_score, format_time_left, format_trial

    left, best, next_minute = format_time_left(progress), progress.best, format_outlook(progress.outlook)
    short = f"best {format_score(progress, progress.best_score)}" if best is not None else ""
    of = f" (trial {progress.best_number})" if best is not None else ""
    candidates = [
        (left, format_trial(progress), next_minute),
        (left, format_trial(progress)),
        (left, short + of, next_minute),
        (left, short + of),
        (left, short),
        (short,),
    ]
    lines = ["  ".join(filter(None, parts)) for parts in candidates]
    return next((line for line in lines if len(line) <= width), "")


def format_report(result: "TuneResult", *, is_ensemble: bool) -> Iterator[str]:
    """The lines of the final report."""
    from metahp.study.progress import format_gain

    error = result.best_standard_error_
    digits = phrases.count_decimals(error)
    best, metric = result.best_trial_, result.metric
    spread = "" if math.isnan(error) else f" ± {error:.{digits}f}"
    yield (
        f"best {metric.label} {metric.speak(result.best_score_):.{digits}f}{spread} "
        f"({_describe_score(result)}): {result.best_learner_}, "
        f"trial {result.number_of(best)} of {len(result.trials)}, {best.origin.words}"
    )
    width = output.find_width() - 1
    changed = phrases.format_changes(best.configuration, result.defaults[result.best_learner_])
    yield from textwrap.wrap(changed, width, initial_indent="  ", subsequent_indent="  ")
    if len(result.trials) > 1:
        yield f"best {metric.label} by origin: {_format_origins(result, digits)}"
    has_ensemble = result.ensemble_ is not None and len(result.ensemble_.members) > 1
    is_model = is_ensemble and has_ensemble
    if has_ensemble:
        yield _format_ensemble(result, is_model=is_model)
    if result.test_score_ is not None:
        score = metric.speak(result.test_score_)
        shown = phrases.UNKNOWN if math.isnan(score) else f"{score:.{digits}f}"
        of = " of the ensemble" if is_model else ""
        yield f"test {metric.label} {shown}{of} on {format_count(result.n_test_rows, 'row')} not used for tuning"
    if result.directory is not None:
        what = "the ensemble" if is_model else "the best model"
        names = ", ".join(sorted(path.name for path in result.directory.iterdir() if path.name != "study"))
        rows = "all other rows" if result.n_test_rows else "all rows"
        yield f"written to {result.directory}/: {what}, trained on {rows} ({names})"
    if result.outlook is not None:
        yield f"more time is expected to bring {format_gain(result.outlook, metric.label)} in the next minute"
    yield _format_counts(result)


def _describe_score(result: "TuneResult") -> str:
    """What the score of the best trial is, and its spread."""
    spread = "mean" if math.isnan(result.best_standard_error_) else "mean ± standard error"
    folds = len(result.best_trial_.fold_losses[result.metric.name])
    selected = "; optimistic, because it selected the trial" if len(result.trials) > 1 else ""
    return f"{spread} of {format_count(folds, 'fold')}{selected}"


def _format_origins(result: "TuneResult", digits: int) -> str:
    """The best score among the trials of each origin, and how many trials these are."""
    from metahp.core.trial import TrialState
    from metahp.study.trials import WARM

    by_origin: dict[str, list[float]] = {}
    for trial in result.trials:
        words = "past tasks" if trial.origin in WARM else trial.origin.words
        is_complete = trial.state is TrialState.COMPLETE
        by_origin.setdefault(words, []).append(trial.loss(result.metric.name) if is_complete else math.inf)
    parts = []
    for words, losses in by_origin.items():
        loss = min((loss for loss in losses if not math.isnan(loss)), default=math.inf)
        spoken = result.metric.speak(result.metric.score(loss))
        score = f"{spoken:.{digits}f}" if math.isfinite(spoken) else phrases.UNKNOWN
        parts.append(f"{words} {score} ({format_count(len(losses), 'trial')})")
    return ", ".join(parts)


def _format_ensemble(result: "TuneResult", *, is_model: bool) -> str:
    ensemble = result.ensemble_
    assert ensemble is not None
    line = f"ensemble of {format_count(len(ensemble.members), 'trial')}"
    if ensemble.gain is None:
        return line
    digits = phrases.count_decimals(ensemble.gain.standard_error)
    gain = ensemble.gain.gain
    hint = "; --ensemble writes it" if gain > ensemble.gain.standard_error and not is_model else ""
    return (
        f"{line}: {result.metric.label} {'worse' if gain < 0 else 'better'} than a single model's by "
        f"{abs(gain):.{digits}f} ± {ensemble.gain.standard_error:.{digits}f}, measured on rows that chose neither{hint}"
    )


def _format_counts(result: "TuneResult") -> str:
    states = [trial.state for trial in result.trials]
    counted = ", ".join(f"{states.count(state)} {state.words}" for state in sorted(set(states)))
    ended = f" ({_ENDED[result.ended]})" if result.ended in _ENDED else ""
    n = result.n_recorded
    added = f" · {format_count(n, 'trial')} added to your knowledge base" if n else ""
    return f"trials: {counted}{ended}{added}"
