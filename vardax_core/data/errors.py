"""What can go wrong between a recipe and validated observations.

Every message says what was expected, what was found, where, and what to do about it.
"""


class RecipeError(ValueError):
    """A recipe cannot be found or does not say what a recipe must say."""


class SourceError(ValueError):
    """The data that a recipe names cannot be used."""


class SourceNotFoundError(SourceError):
    """The file is in none of the places searched."""


class SourceUnreachableError(SourceError):
    """The source may not be read, or does not answer."""


class ChecksumError(SourceError):
    """The file found is not the file that the recipe names."""


class SourceReplacedError(SourceError):
    """The file was replaced while it was read."""


class SourceFormatError(SourceError):
    """The file cannot be read, or does not hold the variable on the dimensions expected."""


class UnitsError(SourceError):
    """The variable has no units, or not those of the recipe."""


class TimeAxisError(SourceError):
    """The time axis is missing, not in time order, or holds a time twice."""


class PeriodError(SourceError):
    """The period asked for is not within what the source covers."""


class ContractError(ValueError):
    """A dataset breaks the contract of its kind."""
