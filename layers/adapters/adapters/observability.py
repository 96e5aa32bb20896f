"""The one logger and the one metrics collector. Log lines carry counts and keys, never an event, a prompt or a secret."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

# Service and namespace come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_METRICS_NAMESPACE in template.yaml.
logger = Logger()
metrics = Metrics()


def count(name: str, value: float = 1) -> None:
    """Add to a metric that somebody alarms on. The service is the dimension; a team or a principal never is."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
