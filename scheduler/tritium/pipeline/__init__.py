"""Pipelines: spec -> plan -> run -> report."""
