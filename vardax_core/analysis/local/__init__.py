"""Space-time interpolation of records at any place from the nearest of them."""
