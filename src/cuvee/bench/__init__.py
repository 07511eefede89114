"""The benchmarks of the project. `docs/benchmarks.md` has the figures."""
