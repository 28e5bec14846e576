"""Tools for people who install or develop the server."""
