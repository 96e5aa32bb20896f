"""The one logger and the one metrics collector. Log lines carry counts and keys, never an event, a prompt or a secret."""

from __future__ import annotations

import warnings

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

# Service and namespace come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_METRICS_NAMESPACE in template.yaml.
# An event that is ignored has nothing to measure; that is no reason to warn on every such invocation.
warnings.filterwarnings("ignore", "No application metrics to publish")
logger = Logger()
metrics = Metrics()


def count(name: str, value: float = 1) -> None:
    """Add to a metric that somebody alarms on. The service is the dimension; a team or a principal never is."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
