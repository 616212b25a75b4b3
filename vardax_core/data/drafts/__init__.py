"""A first recipe and card, drafted from files of observations and of fields."""
