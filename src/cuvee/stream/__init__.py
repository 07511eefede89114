"""Tokens out at chosen weights: order, packing, mixer, loader and a torch front end. numpy only, but for the last."""
