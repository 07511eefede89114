"""What every room stands on: errors, the JSON codec, files, seeded randomness, progress. Imports nothing of Cuvée."""
