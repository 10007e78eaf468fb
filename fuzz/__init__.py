"""`make fuzz`: mutated requests against the running service; none may crash it, hang, or leave anything behind."""
