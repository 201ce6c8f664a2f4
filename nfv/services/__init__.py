"""Services in user space: what a function answers that its C passes up."""
