"""Who may use which bytes of a device, now: states, leases, timers and a memory budget."""
