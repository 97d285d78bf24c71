"""``make load``: the coordinator under load, beside the floors of the same machine and run."""
