"""Tritium: accelerator-aware scheduling for Apache Spark."""
