"""Floor 2: the six agents and the risk gate, plain classes over pure step functions."""
