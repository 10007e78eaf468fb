"""`make demo`: the main job on real input, to look at."""
