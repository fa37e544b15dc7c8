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
from metahp.cli.reading import reads_table
from metahp.core.errors import InputError
from metahp.core.metric import METRICS
from metahp.core.text import format_seconds
from metahp.datasets.reading import ReadingOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metahp.core.metric import Metric
    from metahp.datasets.table import Table
    from metahp.recommendation.result import Recommendation, Recommended

# On a narrower terminal the hyperparameters get lines of their own, because their column would be unreadable.
WIDE = 120
# On a narrower terminal the origin stands with the hyperparameters, so that no column of the table is cut.
MEDIUM = 76
# A longer metric name would widen the table beyond 80 columns; the line above the table has the name anyway.
LONG_METRIC = 12
BUDGET_SECONDS = 2.0


class AdviceFormat(StrEnum):
    """How a recommendation is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    PYTHON = "python"


@reads_table
def recommend(
    file: options.File,
    reading: ReadingOptions,
    target: options.Target = None,
    task: options.Task = None,
    metric: options.Metric = None,
    weight: options.Weight = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of configurations.")] = 5,
    learner: options.Learners = None,
    fixed: options.Fixed = None,
    form: Annotated[
        AdviceFormat,
        typer.Option("--format", help="Output format; python: a script that trains the first one without metahp."),
    ] = AdviceFormat.TABLE,
    out: options.Output = None,
    kb: options.KnowledgeBasePath = None,
    budget_seconds: options.Budget = BUDGET_SECONDS,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Recommend hyperparameters for the table in FILE."""
    output.set_quiet(quiet=quiet)
    if form is AdviceFormat.PYTHON and file == "-":
        raise InputError(
            "--format python needs a file, because the script reads it again; standard input can be read only once."
        )
    startup.check_names(file, learners=learner, target=target, task=task, metric=metric, sample_weight=weight)
    api = startup.import_api()
    with output.show_spinner("reading the table", quiet=quiet):
        table = api.load(file, target=target, task=task, **reading.leave_out(weight).arguments)
    start = time.perf_counter()
    with output.show_spinner("searching the knowledge base", quiet=quiet):
        recommendation = api.recommend(
            table,
            metric=metric,
            k=k,
            learners=learner or None,
            knowledge_base=kb,
            seed=seed,
            budget_seconds=budget_seconds,
            fixed=fixed,
        )
    seconds = time.perf_counter() - start
    output.warn(recommendation.warnings, quiet=quiet)
    if form is AdviceFormat.JSON:
        output.write(output.format_json(recommendation.to_dict()), out)
    elif form is AdviceFormat.YAML:
        output.write(output.format_yaml(recommendation.to_dict()), out)
    elif form is AdviceFormat.PYTHON:
        from metahp.results.script import make_recommendation_script

        output.write(make_recommendation_script(recommendation, table, file), out)
    else:
        given = {
            "--target": target,
            "--task": task,
            "--metric": metric,
            "--weight": weight,
            "--kb": kb,
            "--seed": seed or None,
            "--budget-seconds": budget_seconds if budget_seconds != BUDGET_SECONDS else None,
        }
        again = _make_script_command(file, given, learner or (), reading.words, fixed or ())
        output.write_rich(make_report(recommendation, table, file, seconds, output.find_width(), again), out)
    if out is not None and not quiet:
        output.complain(f"written to {out}")


def make_report(
    recommendation: "Recommendation", table: "Table", file: str, seconds: float, width: int, again: str
) -> Iterator["RenderableType"]:
    """The parts of the printed recommendation, for a console of `width` columns."""
    yield output.make_text(phrases.format_table(table, file))
    yield output.make_text(
        f"metric {phrases.format_metric(recommendation.metric, table)} · "
        f"knowledge base: {recommendation.n_past_tasks:,} tasks, {recommendation.n_past_trials:,} trials · "
        f"took {seconds:.1f} s"
    )
    yield ""
    yield _make_score_table(recommendation, width)
    yield ""
    if width < WIDE:
        for item in recommendation.items:
            origin = f" ({item.origin.words})" if width < MEDIUM and item.origin != "default" else ""
            line = f"{item.rank}  {item.learner}{origin}: {_format_hyperparameters(recommendation, item)}"
            yield output.make_text(
                "\n".join(textwrap.wrap(line, width - 1, initial_indent="  ", subsequent_indent="     "))
            )
        yield ""
    for line in (recommendation.score_words, _explain_gains(recommendation), _explain_order(recommendation)):
        if line:
            yield output.make_text(line)
    if why := _format_reasons(recommendation):
        yield output.make_text(why)
    if record := _format_track_record(recommendation):
        yield output.make_text(record)
    if again:
        # One line, so that it can be copied.
        yield output.make_text(f"Next: {again}", no_wrap=True)


def _make_script_command(
    file: str,
    given: Mapping[str, object],
    learners: Sequence[str],
    reading: Sequence[tuple[str, str]],
    fixed: Sequence[str] = (),
) -> str:
    """The command that prints the script of this recommendation; empty for standard input, which is read only once."""
    if file == "-":
        return ""
    words = ["metahp", "recommend", f"./{file}" if file.startswith("-") else file]
    for option, value in given.items():
        words += [option, str(value)] if value not in (None, "") else []
    for learner in learners:
        words += ["--learner", learner]
    for text in fixed:
        words += ["--fixed", text]
    for name, value in reading:
        words.append(f"--{name}={value}" if name != "dayfirst" else "--monthfirst" if value else "--dayfirst")
    return f"{shlex.join([*words, '--format', 'python'])} > train.py"


def _make_score_table(recommendation: "Recommendation", width: int) -> "RenderableType":
    from rich.table import Table as RichTable

    metric, has_gains = recommendation.metric, bool(recommendation.reference)
    has_scores = any(not math.isnan(item.score) for item in recommendation.items)
    table = RichTable(box=None, pad_edge=True, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    # What may be long is folded and never cut.
    table.add_column("learner", overflow="fold")
    measured = "measured" if recommendation.is_known_task else "expected"
    if has_scores:
        name = metric.label if len(metric.label) <= LONG_METRIC else "score"
        table.add_column(f"{measured} {name}", overflow="fold")
    if has_gains:
        table.add_column("gain", overflow="fold")
    table.add_column("fit time", justify="right", no_wrap=True)
    if width >= MEDIUM:
        table.add_column("origin", no_wrap=True)
    if width >= WIDE:
        table.add_column("hyperparameters", ratio=1)
    for item in recommendation.items:
        cells = [
            str(item.rank),
            item.learner,
            *([format_expected(item, metric)] if has_scores else []),
            *([format_gain(item)] if has_gains else []),
            format_seconds(item.fit_seconds),
            *([item.origin.words] if width >= MEDIUM else []),
            *([_format_hyperparameters(recommendation, item)] if width >= WIDE else []),
        ]
        table.add_row(*map(output.make_text, cells))
    return table


def format_expected(item: "Recommended", metric: "Metric") -> str:
    """The expected score as people speak of it, with its interval, whose width decides the number of decimals."""
    if math.isnan(item.score):
        return phrases.UNKNOWN
    digits = _count_decimals(item)
    score = f"{metric.speak(item.score):.{digits}f}"
    if math.isnan(item.low):
        return f"{score}  (no interval)"
    low, high = (f"{end:.{digits}f}" for end in sorted((metric.speak(item.low), metric.speak(item.high))))
    return f"{score}  ({_strip_zero(low)}–{_strip_zero(high)})" if low[0] != "-" else f"{score}  ({low} to {high})"


def format_gain(item: "Recommended") -> str:
    """The expected gain over the one default of all rows, with as many decimals as the score; more is better."""
    digits = _count_decimals(item)
    # Rounded first, and zero added, so that no gain is "-0".
    return phrases.UNKNOWN if math.isnan(item.gain) else f"{round(item.gain, digits) + 0.0:+.{digits}f}"


def _count_decimals(item: "Recommended") -> int:
    return phrases.count_decimals(item.high - item.low)


def _strip_zero(number: str) -> str:
    return number.removeprefix("0") if number.startswith("0.") else number


def _format_hyperparameters(recommendation: "Recommendation", item: "Recommended") -> str:
    from metahp.learners.registry import find_learner

    default = find_learner(item.learner).space(recommendation.task.type).default
    return phrases.format_changes(item.configuration, default)


def _explain_gains(recommendation: "Recommendation") -> str:
    """What the gains are over: one default for all rows."""
    if not recommendation.reference:
        return ""
    first, metric = recommendation.best, recommendation.metric
    reference = f"{metric.speak(first.reference_score):.{_count_decimals(first)}f}"
    measured = "measured" if recommendation.is_known_task else "expected"
    lower = f"; a positive gain is a lower {metric.label}" if metric.is_negated else ""
    score = f"{measured} {metric.label} {reference}"
    return f"Gains are over the library default of {recommendation.reference} ({score}){lower}."


def _explain_order(recommendation: "Recommendation") -> str:
    if len(recommendation.items) < 2 or recommendation.is_known_task:
        return ""
    if math.isnan(recommendation.best.score):
        return "The list is a set: each entry hedges against those above it."
    return "The list is a set: #1 has the best expected score, and each other entry hedges against those above it."


def _format_reasons(recommendation: "Recommendation") -> str:
    if recommendation.abstained:
        return "Why: these are good on past tables in general; no past table is a guide for this one."
    parts = []
    if recommendation.neighbours:
        words = ["similarity ", *("" for _ in recommendation.neighbours)]
        near = ", ".join(
            f"{neighbour.task} ({word}{neighbour.similarity:.2f})"
            for word, neighbour in zip(words, recommendation.neighbours, strict=False)
        )
        parts.append(f"most like {near}")
    parts += recommendation.reasons
    return f"Why: {'; '.join(parts)}." if parts else ""


def _format_track_record(recommendation: "Recommendation") -> str:
    record = recommendation.track_record
    if record is None:
        return ""
    metric = METRICS[record.metric].label
    line = (
        f"Track record of {record.learner.replace('+', ' + ')} on {record.n_tasks:,} past tasks ({metric}), each left "
        f"out of training: #1 beat the default of {record.reference} on {record.win_rate:.0%}".replace("%", " %")
    )
    if not math.isnan(record.random_trials):
        line += f"; the first {record.k} were worth {record.random_trials:.0f} random trials"
    return f"{line}."
