"""`make soak`: the whole service for a while, under everything that may go wrong; nothing may be lost, nothing left."""
