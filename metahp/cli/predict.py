"""`metahp predict DIR FILE`: predictions of a tuned model for the rows of a new file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahp.cli import options, output, startup
from metahp.core.text import format_count

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def predict(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Result directory of metahp tune.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Rows to predict: a file in any format of metahp tune; '-' is standard input."
        ),
    ],
    proba: Annotated[bool, typer.Option("--proba", help="Add a column with the probability of each class.")] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Print the score on standard error; FILE needs the target column.")
    ] = False,
    sep: Annotated[str | None, typer.Option("--sep", help="Separator between fields.  [default: found]")] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="Sheet of a workbook.  [default: the first]")] = None,
    out: options.Output = None,
    quiet: options.Quiet = False,
) -> None:
    """Predict the rows of FILE with a tuned model.

    Prints one prediction per row, as CSV. DIRECTORY is the result of metahp tune.
    """
    output.set_quiet(quiet=quiet)
    from metahp.core.errors import InputError
    from metahp.results.owner import check_is_directory

    check_is_directory(directory)
    startup.check_names(file)
    from metahp.results.predict import load_result

    model = load_result(directory)
    if proba and not model.classes:
        raise InputError("--proba needs a classification model; this one predicts numbers.")
    frame = model.read(file, separator=sep, sheet=sheet)
    features, notes = model.preparation.transform(frame)
    output.warn(notes, quiet=quiet)
    outputs = model.outputs(features)
    if score:
        value, n_rows = model.score_of(outputs, frame)
        rows = f"{format_count(n_rows, 'row')} with a known {model.target}"
        output.complain(f"{model.metric.label}: {model.metric.speak(value):.4f} on {rows}")
    predictions = _format_csv(
        model.decided(outputs),
        outputs,
        list(map(str, model.classes_)) if proba else [],
        model.preparation.find_ids(frame),
    )
    output.write(predictions, out, is_exact=True)


def _format_csv(predictions: "np.ndarray", outputs: "np.ndarray", classes: list[str], ids: "pd.Series | None") -> str:
    import pandas as pd

    frame = pd.DataFrame({"prediction": predictions})
    for index, name in enumerate(classes):
        frame.insert(index + 1, name, outputs[:, index], allow_duplicates=True)
    if ids is not None:
        frame.insert(0, ids.name, ids.to_numpy(), allow_duplicates=True)
    return frame.to_csv(index=False, lineterminator="\n")
