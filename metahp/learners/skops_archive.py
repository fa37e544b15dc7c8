"""The zip archive of a skops file, read with limits on its size; arrays hold numbers or nodes of trees only."""

import math
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import psutil
from sklearn.tree._tree import NODE_DTYPE

from metahp.learners.untrusted import parse_json

# Limits on entries, schema and ratio of unpacked to packed bytes. A forest of 300 trees has 901 entries and a schema of
# 6 MB, and unpacks to 3.4 times its size.
MAX_ENTRIES = 20_000
MAX_SCHEMA_BYTES = 1 << 27
MAX_RATIO = 100
# Up to this size an archive may unpack to any multiple, as the schema of a linear model is very repetitive.
MIN_UNPACKED_BYTES = 1 << 26
SCHEMA = "schema.json"

# The types of arrays in a fitted pipeline. Other types may hold bytes that are not valid for them (a boolean of 2).
_DTYPES = [np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64), NODE_DTYPE]
# Start of each entry of the directory, which `ZipFile` parses as a whole.
_ENTRY = b"PK\1\2"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(slots=True)
class Archive:
    """The entries of a skops file; `bytes_left` may still be unpacked, as a schema can name one entry many times."""

    file: zipfile.ZipFile
    bytes_left: int

    @classmethod
    def open(cls, data: bytes) -> "Archive":
        """The archive in `data`.

        Raises:
            ValueError: `data` is no zip archive, or exceeds the limits on entries or unpacked bytes.
        """
        if (n_entries := data.count(_ENTRY)) > MAX_ENTRIES:
            raise ValueError(f"expected at most {MAX_ENTRIES:,} entries, found {n_entries:,}")
        file = zipfile.ZipFile(BytesIO(data))
        entries = file.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("expected entries of different names")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise ValueError("expected entries that are stored or deflated")
        max_bytes = min(max(MIN_UNPACKED_BYTES, MAX_RATIO * len(data)), psutil.virtual_memory().available)
        if (total := sum(entry.file_size for entry in entries)) > max_bytes:
            raise ValueError(f"unpacks to {total:,} bytes, expected at most {max_bytes:,}")
        return cls(file, max_bytes)

    def read_entry(self, name: Any) -> bytes:
        """The content of an entry.

        Raises:
            ValueError: there is no entry of this name, or no bytes are left to unpack.
        """
        try:
            entry = self.file.getinfo(str(name))
        except KeyError:
            raise ValueError(f"no entry {str(name)[:40]!r}") from None
        self.bytes_left -= entry.file_size
        if self.bytes_left < 0:
            raise ValueError(f"uses the entry {entry.filename[:40]!r} too often")
        return self.file.read(entry)

    def read_schema(self) -> dict[str, Any]:
        """The JSON object that describes the model.

        Raises:
            ValueError: the schema is larger or nested deeper than the limits, or is no object.
        """
        size = self.file.getinfo(SCHEMA).file_size if SCHEMA in self.file.NameToInfo else 0
        if not 0 < size <= MAX_SCHEMA_BYTES:
            raise ValueError(f"expected a {SCHEMA} of 1 to {MAX_SCHEMA_BYTES:,} bytes, found {size:,}")
        schema = parse_json(self.read_entry(SCHEMA))
        if not isinstance(schema, dict):
            raise ValueError(f"expected an object in {SCHEMA}")
        return schema

    def read_array(self, name: Any) -> np.ndarray:
        """The array in an entry.

        Raises:
            ValueError: the array holds neither numbers nor nodes of trees, or its shape does not fit its bytes.
        """
        data = self.read_entry(name)
        stream = BytesIO(data)
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"expected an array of format 1.0 or 2.0, found {version}")
        shape, is_fortran, dtype = _HEADERS[version](stream)
        if dtype not in _DTYPES:
            raise ValueError(f"expected an array of numbers, found {str(dtype)[:60]}")
        start = stream.tell()
        # If one axis has length 0, another may be of any length without bytes, and a loop over it would never end.
        if math.prod(shape) * dtype.itemsize != len(data) - start or max(shape, default=0) > len(data):
            raise ValueError(f"expected {len(data) - start:,} bytes in an array, found shape {str(shape)[:60]}")
        values = np.frombuffer(data, dtype, offset=start) if len(data) > start else np.empty(0, dtype)
        return values.reshape(shape, order="F" if is_fortran else "C").copy(order="K")
