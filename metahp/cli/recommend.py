"""`metahp recommend FILE`: the configurations to try first on a table."""

import math
import shlex
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from metahp.cli import options, output, phrases, startup
from metahp.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metahp.datasets.table import Table
    from metahp.recommendation.result import Recommendation, Recommended

# Below this width the hyperparameters get lines of their own; beside the other columns they would be unreadable.
WIDE = 120
# Longer metric names would push the table over 80 columns; the line above the table names the metric anyway.
LONG_METRIC = 12
BUDGET_SECONDS = 2.0


class AdviceFormat(StrEnum):
    """How a recommendation is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    PYTHON = "python"


def recommend(
    file: options.File,
    target: options.Target = None,
    task: options.Task = None,
    metric: options.Metric = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many configurations.")] = 5,
    learner: options.Learners = None,
    form: Annotated[
        AdviceFormat, typer.Option("--format", help="python: a script that trains the best one without metahp.")
    ] = AdviceFormat.TABLE,
    out: options.Output = None,
    kb: options.KnowledgeBasePath = None,
    budget_seconds: options.Budget = BUDGET_SECONDS,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Recommend hyperparameters for the table in FILE."""
    output.hush(quiet=quiet)
    if form is AdviceFormat.PYTHON and file == "-":
        raise InputError("--format python needs a file that the script can read again; standard input is gone by then.")
    api = startup.import_api()
    with output.working("reading the table", quiet=quiet):
        table = api.load(file, target=target, task=task)
    start = time.perf_counter()
    with output.working("asking the knowledge base", quiet=quiet):
        recommendation = api.recommend(
            table,
            metric=metric,
            k=k,
            learners=learner or None,
            knowledge_base=kb,
            seed=seed,
            budget_seconds=budget_seconds,
        )
    seconds = time.perf_counter() - start
    output.warn(recommendation.warnings, quiet=quiet)
    if form is AdviceFormat.JSON:
        output.write(output.as_json(recommendation.to_dict()), out)
    elif form is AdviceFormat.YAML:
        output.write(output.as_yaml(recommendation.to_dict()), out)
    elif form is AdviceFormat.PYTHON:
        from metahp.results.script import make_recommendation_script

        output.write(make_recommendation_script(recommendation, table, file), out)
    else:
        given = {
            "--target": target,
            "--task": task,
            "--metric": metric,
            "--kb": kb,
            "--seed": seed or None,
            "--budget-seconds": budget_seconds if budget_seconds != BUDGET_SECONDS else None,
        }
        again = _script_command(file, given, learner or ())
        output.write_rich(report(recommendation, table, file, seconds, output.width(), again), out)
    if out is not None and not quiet:
        output.complain(f"written to {out}")


def report(
    recommendation: "Recommendation", table: "Table", file: str, seconds: float, width: int, again: str
) -> Iterator["RenderableType"]:
    """The parts of the printed recommendation for a console of `width` columns."""
    yield output.line(phrases.table_line(table, file))
    yield output.line(
        f"metric {recommendation.metric.name} · knowledge base: {recommendation.n_past_tasks:,} tasks, "
        f"{recommendation.n_past_trials:,} trials · took {seconds:.1f} s"
    )
    yield ""
    yield _score_table(recommendation, is_wide=width >= WIDE)
    yield ""
    if width < WIDE:
        for item in recommendation.items:
            line = f"{item.rank}  {item.learner}: {_hyperparameters(recommendation, item)}"
            yield output.line("\n".join(textwrap.wrap(line, width - 1, initial_indent="  ", subsequent_indent="     ")))
        yield ""
    if len(recommendation.items) > 1 and not recommendation.is_known_task:
        yield output.line("The list is a set: each entry hedges against those above it.")
    if why := _why(recommendation):
        yield output.line(why)
    if record := _track_record(recommendation):
        yield output.line(record)
    if again:
        # Not wrapped, so that it can be copied.
        yield output.line(f"Next: {again}", no_wrap=True, overflow="ignore")


def _script_command(file: str, given: Mapping[str, object], learners: Sequence[str]) -> str:
    """The command that writes the script of this recommendation; empty for standard input, which is gone by then."""
    if file == "-":
        return ""
    words = ["metahp", "recommend", f"./{file}" if file.startswith("-") else file]
    for option, value in given.items():
        words += [option, str(value)] if value not in (None, "") else []
    for learner in learners:
        words += ["--learner", learner]
    return f"{shlex.join([*words, '--format', 'python'])} > train.py"


def _score_table(recommendation: "Recommendation", *, is_wide: bool) -> "RenderableType":
    from rich.table import Table as RichTable

    metric = recommendation.metric.name
    table = RichTable(box=None, pad_edge=True, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("learner", no_wrap=True)
    table.add_column(f"expected {metric if len(metric) <= LONG_METRIC else 'score'}", no_wrap=True)
    table.add_column("gain over default")
    table.add_column("fit", justify="right", no_wrap=True)
    table.add_column("origin", no_wrap=True)
    if is_wide:
        table.add_column("hyperparameters", ratio=1)
    for item in recommendation.items:
        cells = [str(item.rank), item.learner, expected(item), gain(item), duration(item.fit_seconds), str(item.origin)]
        cells += [_hyperparameters(recommendation, item)] if is_wide else []
        table.add_row(*map(output.line, cells))
    return table


def expected(item: "Recommended") -> str:
    """The expected score and its interval, with as many decimals as the interval's width makes meaningful."""
    if math.isnan(item.score):
        return phrases.UNKNOWN
    digits = _decimals(item)
    if math.isnan(item.low):
        return f"{item.score:.{digits}f}  (no interval)"
    score, low, high = (f"{value:.{digits}f}" for value in (item.score, item.low, item.high))
    return f"{score}  ({_bare(low)}–{_bare(high)})" if low[0] != "-" else f"{score}  ({low} to {high})"


def gain(item: "Recommended") -> str:
    """The expected gain over the learner's default, in the decimals of the score."""
    return phrases.UNKNOWN if math.isnan(item.gain) else f"{item.gain:+.{_decimals(item)}f}"


def _decimals(item: "Recommended") -> int:
    return phrases.decimals(item.high - item.low)


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if math.isnan(seconds):
        return phrases.UNKNOWN
    if seconds < 0.1:
        return "<0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _bare(number: str) -> str:
    return number.removeprefix("0") if number.startswith("0.") else number


def _hyperparameters(recommendation: "Recommendation", item: "Recommended") -> str:
    from metahp.learners.registry import find_learner

    default = find_learner(item.learner).space(recommendation.task.type).default
    return phrases.changed(item.configuration, default)


def _why(recommendation: "Recommendation") -> str:
    parts = []
    if recommendation.neighbours:
        near = ", ".join(f"{neighbour.task} ({neighbour.similarity:.2f})" for neighbour in recommendation.neighbours)
        parts.append(f"most like {near}")
    parts += recommendation.reasons
    return f"Why: {'; '.join(parts)}." if parts else ""


def _track_record(recommendation: "Recommendation") -> str:
    record = recommendation.track_record
    if record is None:
        return ""
    line = (
        f"Track record of {record.learner} on {record.n_tasks:,} past tasks ({record.metric}), each left out: "
        f"#1 beat the default on {record.win_rate:.0%}".replace("%", " %")
    )
    if not math.isnan(record.random_trials):
        line += f"; the first {record.k} were worth {record.random_trials:.0f} random trials"
    return f"{line}."
