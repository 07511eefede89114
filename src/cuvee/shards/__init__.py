"""Token arrays on disk: Megatron indexed datasets, the inventory, splits, pools and the fingerprint. numpy only."""
