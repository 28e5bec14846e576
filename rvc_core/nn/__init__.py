"""Layers of the networks; attribute names equal the keys of the files they are loaded from."""
