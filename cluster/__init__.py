"""Floor 6: the composition root: command line, local bring-up, Ray start-up."""
