"""What becomes of packets: observed programs, captures and traces."""
