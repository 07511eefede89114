"""For authors of methods and for Cuvée's own tests: contract suites, worlds with known answers, small corpora."""
