"""scripts/gpu-check: what is packed on the build machine, and what runs on one with a GPU."""
