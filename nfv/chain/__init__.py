"""From topology text to the chain graph. Pure: imports neither bcc nor pyroute2."""
