"""A gang: rank processes that start, run and end as one."""
