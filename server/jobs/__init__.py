"""Jobs that outlive requests, connections and the process itself."""
