"""What the parts say to each other: Problem, Plan, Trial, Choice, and the named proxy sizes. Values; numpy only."""
