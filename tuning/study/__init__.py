"""Studies: searching parameters on Ray Tune, judging what was found, promoting what is proven."""
