"""What differs between a file and what runs, and the steps that mend it."""
