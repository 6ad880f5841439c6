"""The errors that nlptk raises on purpose.

Every message says where, what came, what was expected and the cure, in one line that makes sense without a traceback:

    recipe.yaml: optimizer.nam: unknown key; did you mean 'name'?
    reviews.csv, row 812: label is empty; drop the row or set data.bad_rows=drop

The command line prints the message and exits with code 2; in Python they are ordinary exceptions.
"""


class NlptkError(Exception):
    """What the user can mend: bad input, a bad recipe, a model that does not fit. Never a defect of nlptk itself."""


class RecipeError(NlptkError):
    """A recipe (file, override or keyword) that cannot be run."""


class DataError(NlptkError):
    """Rows that cannot be read, or that must not be trained or measured on."""


class ArtifactError(NlptkError):
    """A model folder that is missing, incomplete, altered or made for something else."""


class UnsupportedError(NlptkError):
    """A pairing (task, model form, strategy, device) that makes no sense or does not work, with the reason."""


class MissingExtraError(NlptkError):
    """An optional package is needed and not installed; the message names the extra."""
