"""Floor 5: model fitting, performance statistics and reports."""
