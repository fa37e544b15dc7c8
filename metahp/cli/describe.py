"""`metahp describe FILE`: the meta-features of a table by group, with the processor time of each group."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from metahp.cli import options, output, phrases, startup
from metahp.cli.reading import reads_table
from metahp.datasets.reading import ReadingOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metahp.datasets.table import Table
    from metahp.metafeatures.extract import MetaFeatures


@reads_table
def describe(
    file: options.File,
    reading: ReadingOptions,
    target: options.Target = None,
    task: options.Task = None,
    weight: options.Weight = None,
    budget_seconds: options.Budget = 2.0,
    form: Annotated[options.Format, typer.Option("--format", help="Output format.")] = options.Format.TABLE,
    out: options.Output = None,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Show the meta-features of the table in FILE.

    Meta-features are numbers that describe a table. The processor time of each group is shown too.
    """
    output.set_quiet(quiet=quiet)
    startup.check_names(file, target=target, task=task, sample_weight=weight)
    api = startup.import_api()
    with output.show_spinner("describing the table", quiet=quiet):
        table = api.load(file, target=target, task=task, **reading.leave_out(weight).arguments)
        metafeatures = api.describe(table, budget_seconds=budget_seconds, seed=seed)
    output.warn((*table.warnings, *metafeatures.warnings), quiet=quiet)
    if form is options.Format.JSON:
        output.write(output.format_json(_make_dict(table, metafeatures)), out)
    else:
        output.write_rich(_make_report(table, metafeatures, file), out)


def _make_dict(table: "Table", metafeatures: "MetaFeatures") -> dict[str, object]:
    return {
        "task": {
            "id": table.task.id,
            "type": str(table.task.type),
            "target": table.target,
            "n_rows": table.task.n_rows,
            "n_features": table.task.n_features,
        },
        "version": metafeatures.version,
        "values": {name: None if math.isnan(value) else value for name, value in metafeatures.values.items()},
        "seconds": {group: round(seconds, 4) for group, seconds in metafeatures.seconds.items()},
        "warnings": [*table.warnings, *metafeatures.warnings],
    }


def _make_report(table: "Table", metafeatures: "MetaFeatures", file: str) -> Iterator["RenderableType"]:
    from rich.table import Table as RichTable
    from rich.text import Text

    from metahp.metafeatures.extract import GROUP_OF

    yield output.make_text(phrases.format_table(table, file))
    for group, seconds in metafeatures.seconds.items():
        yield ""
        yield Text(f"{group} ({seconds:.2f} s)", style="bold")
        rows = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
        rows.add_column(no_wrap=True)
        rows.add_column(justify="right", no_wrap=True)
        for name in (name for name, home in GROUP_OF.items() if home == group):
            value = metafeatures.values[name]
            rows.add_row(f"  {name}", "–" if math.isnan(value) else f"{value:.5g}")
        yield rows
    yield ""
    yield Text(
        f"{len(metafeatures.values)} meta-features in {sum(metafeatures.seconds.values()):.2f} s of processor time"
    )
