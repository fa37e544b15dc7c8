"""`metahp predict DIR FILE`: predictions of a tuned model for the rows of a new file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahp.cli import options, output, startup

if TYPE_CHECKING:
    import numpy as np


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
    out: options.Output = None,
    quiet: options.Quiet = False,
) -> None:
    """Predict the rows of FILE with a tuned model.

    Prints one prediction per row, as CSV. DIRECTORY is the result of metahp tune.
    """
    output.set_quiet(quiet=quiet)
    from metahp.core.errors import InputError

    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise InputError(f"'{directory}' {what}; expected the directory that metahp tune wrote.")
    startup.check_names(file)
    from metahp.results.predict import load_result

    model = load_result(directory)
    if proba and not model.classes:
        raise InputError("--proba needs a classification model; this one predicts numbers.")
    frame = model.read(file)
    features, notes = model.preparation.transform(frame)
    output.warn(notes, quiet=quiet)
    outputs = model.outputs(features)
    if score:
        value, n_rows = model.score_of(outputs, frame)
        output.complain(
            f"{model.metric.label}: {model.metric.speak(value):.4f} on {n_rows:,} row(s) with a known {model.target}"
        )
    predictions = _format_csv(model.decided(outputs), outputs, list(map(str, model.classes_)) if proba else [])
    output.write(predictions, out, is_exact=True)


def _format_csv(predictions: "np.ndarray", outputs: "np.ndarray", classes: list[str]) -> str:
    import pandas as pd

    frame = pd.DataFrame({"prediction": predictions})
    for index, name in enumerate(classes):
        frame.insert(index + 1, name, outputs[:, index], allow_duplicates=True)
    return frame.to_csv(index=False, lineterminator="\n")
