"""Services: what functions do in user space, for packets that the fast path hands over to them."""
