"""`make fuzz`: sends mutated requests to the real service; none may crash it, hang, or leave anything behind."""
