"""Voice conversion as a library: no server, no environment, no global state."""
