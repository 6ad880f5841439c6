"""Built-in sample data, so that a first run and the tests need no download.

| name                      | rows | columns                             | what it is                         |
|---------------------------|------|-------------------------------------|------------------------------------|
| messages_train.jsonl      | 900  | text, label                         | messages to a web shop, six labels |
| messages_validation.jsonl | 150  | text, label                         | the same, some wordings new        |
| messages_test.jsonl       | 200  | text, label                         | the same, some wordings new        |
| reviews.csv               | 200  | text, labels                        | hotel reviews, one to three aspects|
| question_pairs.jsonl      | 200  | sentence1, sentence2, label, family | do two questions ask the same?     |

`labels` of reviews.csv are joined with a vertical bar.

The rows are synthetic: `nlptk.samples.generate` makes them, byte for byte, from the sentences in this folder, which
were written for nlptk. No row is copied from a data set, no message is a real person's. Licence: Apache-2.0.
"""

from pathlib import Path

from nlptk.errors import DataError
from nlptk.nearest import did_you_mean

NAMES = (
    "messages_train.jsonl",
    "messages_validation.jsonl",
    "messages_test.jsonl",
    "reviews.csv",
    "question_pairs.jsonl",
)


def sample_path(name: str) -> Path:
    """The file of that name, which may be read in place.

    Raises: DataError naming the samples there are.

    >>> sample_path("reviews.csv").name
    'reviews.csv'
    """
    if name not in NAMES:
        raise DataError(f"sample {name!r}: no such sample{did_you_mean(name, NAMES)}; known: {', '.join(NAMES)}")
    path = Path(__file__).parent / name
    if not path.is_file():
        raise DataError(f"sample {name!r}: {path} is missing from the installation; reinstall nlptk-hf")
    return path
