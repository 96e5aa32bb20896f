"""The one logger and the one metrics collector. Log lines carry counts and keys, never an event, a prompt or a secret."""

from __future__ import annotations

import warnings
from decimal import Decimal

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

# Service and namespace come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_METRICS_NAMESPACE in template.yaml.
# An event that is ignored has nothing to measure; that is no reason to warn on every such invocation.
warnings.filterwarnings("ignore", "No application metrics to publish")
logger = Logger()
metrics = Metrics()


def count(name: str, value: float = 1) -> None:
    """Add to a metric, or state a number as it is now. The service is the dimension; a team or a principal never is."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def gauge(name: str, value: Decimal, *, is_percent: bool = False, **dimensions: str) -> None:
    """One data point of a metric with dimensions of its own, beside the service: of a few known values each."""
    unit = MetricUnit.Percent if is_percent else MetricUnit.NoUnit
    # What CloudWatch keeps is a float; the exact amount is in the ledger.
    with single_metric(name=name, unit=unit, value=float(value), namespace=metrics.namespace) as metric:
        for dimension, text in {"service": metrics.service, **dimensions}.items():
            metric.add_dimension(name=dimension, value=text)
