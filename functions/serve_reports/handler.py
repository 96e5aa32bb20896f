"""Answer questions to the ledger over HTTP: costs, coverage, explanations, single requests and budgets.

Trigger  GET from whoever may invoke the API, by way of the HTTP API; signed (SigV4) and authorized by IAM.
Effect   none: the ledger is read.
Retry    safe.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.observability import logger, metrics
from adapters.report_api import ReportApi
from adapters.report_requests import (
    CHARGES_MAX,
    CHARGES_READ_MAX,
    BudgetsQuery,
    CostsQuery,
    CoverageQuery,
    ExplainQuery,
    RequestQuery,
)
from adapters.settings import ServeReports, load
from attribution.flows import serve_reports as flow
from attribution.reporting import budgets, costs, coverage, explanations, requests
from attribution.reporting.answers import Answer
from attribution.usage import InvocationKey

settings = load(ServeReports)
days = wiring.ledger_days(settings)
policy = wiring.policy(settings)
deliveries = wiring.deliveries(settings)
origin_charges = wiring.origin_charges(settings)
counters = wiring.usage_counters(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
invocations = wiring.invocations(settings)
sums = wiring.budget_sums(settings)
api = ReportApi(failure_metric="ReportsFailed")


@api.get("/v1/costs", CostsQuery)
def answer_costs(asked: CostsQuery) -> Answer:
    span = asked.span(wiring.clock().date())
    made = flow.report_costs(
        span,
        days=days,
        policy=policy,
        directory=directory,
        by=asked.by,
        where=asked.where,
        metric=asked.metric,
        as_of=asked.read_as_of,
        asked=asked.as_of,
        charges_max=CHARGES_READ_MAX,
    )
    return costs.answer_of(made)


@api.get("/v1/coverage", CoverageQuery)
def answer_coverage(asked: CoverageQuery) -> Answer:
    made = flow.report_coverage(
        asked.span(wiring.clock().date()),
        days=days,
        policy=policy,
        by=asked.dimensions,
        category=asked.category,
        metric=asked.metric,
        as_of=asked.read_as_of,
        asked=asked.as_of,
    )
    return coverage.answer_of(made, units=asked.units)


@api.get("/v1/explain", ExplainQuery)
def answer_explain(asked: ExplainQuery) -> Answer:
    usage_date, charge_id = asked.about()
    category = flow.chosen_category(policy, asked.category)
    question = explanations.Question(category, asked.value or "", charge_id, asked.model or "", asked.metric, asked.top)
    found = flow.explain(
        question,
        usage_date,
        days=days,
        deliveries=deliveries,
        origin_charges=origin_charges,
        counters=counters,
        rules=policy,
        prices=prices,
        directory=directory,
        as_of=asked.as_of,
        charges_max=CHARGES_MAX,
    )
    return explanations.answer_of(question, found, settings.cost_report_bucket)


@api.get("/v1/requests/<request_id>", RequestQuery)
def answer_request(asked: RequestQuery, request_id: str) -> Answer:
    _, _, _, region, account, *_ = api.context.invoked_function_arn.split(":")
    key = InvocationKey(asked.account or account, asked.region or region, request_id)
    found = flow.look_up_request(
        key, invocations=invocations, policy=policy, directory=directory, days=days, charges_max=CHARGES_MAX
    )
    return requests.answer_of(found)


@api.get("/v1/budgets", BudgetsQuery)
def answer_budgets(asked: BudgetsQuery) -> Answer:
    found = flow.budget_standings(asked.name, policy=policy, days=days, sums=sums, clock=wiring.clock, month=asked.period)
    judged = found.judged
    return budgets.answer_of(found.defined, judged.evaluations, judged.not_evaluated, judged.without_limit)


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return api.resolve(event, context)
