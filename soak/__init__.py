"""`make soak`: runs the service under faults and kills, and then checks that no file is lost and no object is left."""
