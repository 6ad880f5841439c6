"""Rows from files, folders and the Hub -> validated, split, fingerprinted data sets.

Importing this package loads neither torch nor datasets nor pyarrow; calling its functions does.
"""

from nlptk.data.cache import cache_dir
from nlptk.data.fingerprint import fingerprint
from nlptk.data.inputs import Inputs
from nlptk.data.inspection import inspect_data
from nlptk.data.loading import Splits, load_splits
from nlptk.data.prediction import read_rows, read_whole_rows
from nlptk.data.report import DataReport
from nlptk.data.writing import write_rows

__all__ = [
    "DataReport",
    "Inputs",
    "Splits",
    "cache_dir",
    "fingerprint",
    "inspect_data",
    "load_splits",
    "read_rows",
    "read_whole_rows",
    "write_rows",
]
