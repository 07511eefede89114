"""Studies: the folder, rounds of proposals, workers and claims, the choice, its verification, what it all costs."""
