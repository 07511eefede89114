"""Small trainings: the model, the loop, held-out scoring. numpy and torch only; importing this package loads no torch."""
