"""Tables of runs in, posteriors over mixtures out: predictors, block-aware intervals, the constrained optimiser.

Letters: N runs, D domains, T targets, B blocks, P features. Shares are realised shares of tokens, losses bits/byte.
"""
