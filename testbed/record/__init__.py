"""The only door between the halves: what a run was going to do, what it saw, and what follows from that."""
