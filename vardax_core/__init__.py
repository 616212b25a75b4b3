"""vardax: data assimilation with amortized analyses."""
