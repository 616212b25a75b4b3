"""A browser of analyses: what a store holds at a date, beside another date or method."""
