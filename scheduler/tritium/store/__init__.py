"""What must outlive a process: immutable objects, and pointers to them that move in one write."""
