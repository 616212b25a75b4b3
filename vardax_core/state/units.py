"""Units of what is made of a state."""


def squared_unit(units: str) -> str:
    """The unit of a variance in CF notation ("K" gives "K2", "m s-1" gives "(m s-1)2")."""
    if units in ("1", ""):
        return "1"
    return f"{units}2" if units.isalpha() else f"({units})2"
