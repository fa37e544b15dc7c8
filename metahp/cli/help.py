"""The help of a command: its options in groups, with plain words for what each takes.

Rich's panels would do the same, and double the time of `--help`.
"""

import re
from typing import Any

from typer.core import TyperCommand

# Groups of options by the names of their parameters; options in none of them come last.
_GROUPS = {
    "Table": (
        *("target", "task", "drop", "categorical", "numeric", "dayfirst", "na", "decimal", "sep", "sheet", "id"),
        *("group", "by_time", "weight", "test_size", "max_rows"),
    ),
    "Score": ("metric", "cv", "proba", "score"),
    "Learners and search": (
        *(
            "k",
            "learner",
            "learners",
            "strategy",
            "cold",
            "warm",
            "attempt",
            "fixed",
            "no_prune",
            "no_early_stopping",
            "device",
        ),
        *("budget_seconds", "seed"),
    ),
    "Limits": ("trials", "timeout", "patience", "stop_when_flat", "trial_timeout", "memory_limit", "jobs"),
    "Result": ("form", "out", "ensemble", "voting", "kb", "no_record", "quiet"),
}
_OTHERS = "Other options"
# Python's names of types, in words.
_TYPES = {
    "<list[str]>": "TEXT",
    "<str>": "TEXT",
    "<int range>": "NUMBER",
    "<int>": "NUMBER",
    "<float range>": "NUMBER",
    "<float>": "NUMBER",
    "<path>": "PATH",
}
_LEAST = re.compile(r"; x>=([\d.]+)\]")
_WHOLE = re.compile(r"(\[default: \d+)\.0\b")


class GroupedCommand(TyperCommand):
    """A command whose help has its options in groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The parts of the usage line; an argument that is required has no braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options by group."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{title: [] for title in _GROUPS}, _OTHERS: []}
        group_of = {name: title for title, names in _GROUPS.items() for name in names}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                title = "Arguments" if is_argument else group_of.get(parameter.name or "", _OTHERS)
                names, text = _write_plainly(*record)
                sections[title].append((names.split()[0] if is_argument else names, text))
        if not any(sections[title] for title in _GROUPS):
            sections["Options"] = sections.pop(_OTHERS)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _write_plainly(names: str, text: str) -> tuple[str, str]:
    for kind, word in _TYPES.items():
        names = names.replace(kind, word)
    names = names.replace("<", "").replace(">", "")
    text = _WHOLE.sub(r"\1", text)
    least = _LEAST.search(text)
    return names, text.replace(least[0], f"; at least {float(least[1]):g}]") if least else text
