"""The REST API: one module a topic; only here and in api_server is Flask known."""
