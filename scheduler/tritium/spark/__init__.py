"""The edge to Spark: a session with exact devices, what a task sees of them, and how it holds them."""
