"""Inference: one call on a DataFrame, each task on exactly one device that the assigner chose."""

from tritium.infer.failures import failures
from tritium.infer.predict import predict
from tritium.infer.report import Run, TaskReport, read_reports, runs

__all__ = ["Run", "TaskReport", "failures", "predict", "read_reports", "runs"]
