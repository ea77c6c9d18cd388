"""More than one process: shards and their merge, and fleets of workers on Ray."""
