"""Inference: one call on a DataFrame, each task on exactly one device that the assigner chose."""

from tritium.infer.failures import failures
from tritium.infer.predict import predict
from tritium.infer.report import TaskReport, read_reports
from tritium.spark.scan import reading

__all__ = ["TaskReport", "failures", "predict", "read_reports", "reading"]
