"""What a person says about a table, where it cannot be seen; light, so that a wrong option is refused at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.text import make_encodable, name_column

if TYPE_CHECKING:
    from metahp.datasets.raw import RawTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """What a person says about a table, where it cannot be seen.

    Attributes:
        drop: Columns to leave out.
        categorical: Columns that are categories though they look like numbers.
        numeric: Columns that are numbers; their other cells are missing.
        day_first: Whether the day comes first in dates; None to find it.
        missing: Texts and numbers that stand for a missing value, beside the usual ones.
        decimal: Decimal mark of columns that do not show one, `.` or `,`; None to find it.
        separator: Between the fields of a CSV file; None to find it.
        sheet: Sheet of a workbook; None for the first one that holds a table.
        id_column: Column that names a row: no feature, but kept beside predictions.

    Raises:
        InputError: a separator that is not one character, or a decimal mark that is neither point nor comma.
    """

    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    day_first: bool | None = None
    missing: tuple[str, ...] = ()
    decimal: str | None = None
    separator: str | None = None
    sheet: str | None = None
    id_column: str = ""

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise InputError(f"`sep` is one character, got {self.separator!r}.", argument="sep")
        if self.decimal not in (None, ".", ","):
            raise InputError(f"`decimal` is '.' or ',', got {self.decimal!r}.", argument="decimal")

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the arguments that were given."""
        return tuple(self.arguments)

    @property
    def arguments(self) -> dict[str, object]:
        """The arguments of `metahp.read` that were given, by name."""
        names: dict[str, object] = {"drop": self.drop, "categorical": self.categorical, "numeric": self.numeric}
        names |= {
            "decimal": self.decimal,
            "na": self.missing,
            "sep": self.separator,
            "sheet": self.sheet,
            "id": self.id_column,
        }
        first = {} if self.day_first is None else {"dayfirst": self.day_first}
        return {name: value for name, value in names.items() if value} | first

    @property
    def words(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the arguments that were given, a pair for each value."""
        many = (("drop", self.drop), ("categorical", self.categorical), ("numeric", self.numeric), ("na", self.missing))
        single = (("decimal", self.decimal), ("sep", self.separator), ("sheet", self.sheet), ("id", self.id_column))
        pairs = [(name, value) for name, values in many for value in values]
        pairs += [(name, value) for name, value in single if value]
        return (*pairs, *(() if self.day_first is None else (("dayfirst", "" if self.day_first else "no"),)))

    def leave_out(self, name: str | None) -> "ReadingOptions":
        """The same options, which leave out one more column; None for none."""
        return self if name is None else replace(self, drop=(*self.drop, name_column(name)))

    def apply(self, raw: "RawTable") -> "RawTable":
        """The raw table, read as these options say.

        Raises:
            UnknownNameError: a column that the table does not have.
        """
        names = list(raw.frame.columns)
        columns = {}
        for argument in ("drop", "categorical", "numeric"):
            columns[argument] = tuple(_find_column(name, names, argument) for name in getattr(self, argument))
        id_column = _find_column(self.id_column, names, "id") if self.id_column else ""
        missing = tuple(dict.fromkeys((*raw.rules.missing, *map(str, self.missing))))
        rules = replace(
            raw.rules,
            missing=missing,
            day_first=self.day_first,
            decimal=self.decimal or raw.rules.decimal,
            is_decimal_given=self.decimal is not None,
            categorical=columns["categorical"],
            numeric=columns["numeric"],
        )
        return replace(
            raw, rules=rules, drop=columns["drop"], id_column=id_column, read=replace(raw.read, missing=missing)
        )


def _find_column(name: object, names: Sequence[str], argument: str) -> str:
    wanted = make_encodable(name_column(name)).strip()
    if wanted not in names:
        raise UnknownNameError(
            f"No column is called '{wanted}'. {did_you_mean(wanted, list(names)[:50])}", argument=argument
        )
    return wanted


AS_IT_IS = ReadingOptions()


def make_reading_options(
    *,
    drop: object = (),
    categorical: object = (),
    numeric: object = (),
    dayfirst: bool | None = None,
    na: object = (),
    decimal: str | None = None,
    sep: str | None = None,
    sheet: str | None = None,
    id: object = None,
) -> ReadingOptions:
    """The options by their public names; where several values are possible, one alone is as good as a list of it.

    Raises:
        InputError: a separator that is not one character, or a decimal mark that is neither point nor comma.
    """
    return ReadingOptions(
        drop=_list_names(drop),
        categorical=_list_names(categorical),
        numeric=_list_names(numeric),
        day_first=dayfirst,
        missing=tuple(map(_write_marker, _list(na))),
        decimal=decimal,
        separator=sep,
        sheet=sheet,
        id_column="" if id is None else name_column(id),
    )


def _list(values: object) -> list[object]:
    if values is None:
        return []
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else [values]


def _list_names(values: object) -> tuple[str, ...]:
    return tuple(map(name_column, _list(values)))


def _write_marker(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
