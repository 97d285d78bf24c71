"""Benchmarks: apart from the tests, because timings are noisy and assert nothing."""
