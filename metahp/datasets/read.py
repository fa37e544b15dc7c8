"""Files become frames: where a table comes from and how it is read."""

from dataclasses import dataclass

import pandas as pd

from metahp.core.task import TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table


def read_frame(path: str) -> pd.DataFrame:
    """The raw frame of a Parquet file."""
    return pd.read_parquet(path)


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where a table is read from, small enough to hand to another process."""

    path: str
    target: str | None = None
    task_type: TaskType | None = None
    name: str = ""
    group: str = ""

    def load(self) -> Table:
        """Read and prepare the table."""
        return build_table(read_frame(self.path), target=self.target, task_type=self.task_type, name=self.name,
                           group=self.group)
