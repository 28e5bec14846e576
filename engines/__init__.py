"""Models behind plain records; heavy imports happen only when a model loads."""
