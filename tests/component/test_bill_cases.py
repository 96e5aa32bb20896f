"""What the evidence about real Bedrock bills demands, case by case as facts/billing.md 8 numbers them, and the row families."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from attribution.charges import COST_METRICS, Costs
from attribution.meters import Routing, Tier, TokenKind
from tests.support import inputs
from tests.support.bills import CLAUDE, DATA, MANIFEST, NOVA, STORAGE, Bills, Row, csv_of, data_export


@pytest.fixture
def bills(tmp_path: Path) -> Iterator[Bills]:
    with mock_aws():
        yield Bills(boto3.client("s3", region_name="us-east-1"), tmp_path)


def billed(costs: Costs) -> Decimal:
    return costs.billed_cost


# 1-6: models, tags, principals ------------------------------------------------------------------------------------------


def test_case_1_a_marketplace_row_with_an_opaque_code_and_no_principal(bills: Bills) -> None:
    charge = bills.read(CLAUDE, STORAGE).only

    assert charge.meter.model == "anthropic.claude-3-5-sonnet"
    assert (charge.meter.token_kind, charge.units) == (TokenKind.INPUT, Decimal(26450))
    assert (charge.region, charge.billing_entity, charge.iam_principal) == ("us-west-2", "AWS Marketplace", "")
    assert charge.costs.billed_cost == Decimal("0.07935")


def test_case_2_one_model_by_three_names_in_a_month_is_one_meter(bills: Bills) -> None:
    claude = {"product": '{"product_name": "Claude Sonnet 4.6 (Amazon Bedrock Edition)"}'}
    found = bills.read(
        NOVA | {"line_item_usage_type": "USE1-Claude4.6Sonnet-input-tokens"},
        CLAUDE | claude | {"line_item_usage_type": "USE1-MP:USE1_InputTokenCount-Units"},
        CLAUDE | claude | {"line_item_usage_type": "USE1-MP:USE1_input_tokens_standard-Units"},
    )

    assert {c.meter for c in found.charges} == {found.charges[0].meter}
    assert found.charges[0].meter.model == "anthropic.claude-sonnet-4-6"


def test_case_3_the_same_team_in_two_maps_and_two_letter_cases_stays_apart(bills: Bills) -> None:
    tags = {"resourceTags/Team": "Search", "iamPrincipal/team": "search", "costCategory/team": "S"}

    charge = bills.read(NOVA | {"tags": json.dumps(tags), "resource_tags": '{"user_team": "Search"}'}).only

    assert dict(charge.tags) == tags


def test_case_3_an_export_with_resource_tags_alone_has_them_under_the_same_source(bills: Bills) -> None:
    row = {name: value for name, value in NOVA.items() if name != "tags"}

    found = bills.read(row | {"resource_tags": '{"user_team": "search", "user:Owner": "ada"}'})

    assert dict(found.only.tags) == {"resourceTags/team": "search", "resourceTags/Owner": "ada"}
    assert any(note.startswith("no `tags`") for note in found.report.notes)


def test_case_4_a_principal_tag_and_a_project_tag_that_disagree_are_both_kept(bills: Bills) -> None:
    charge = bills.read(NOVA | {"tags": '{"iamPrincipal/team": "a", "resourceTags/team": "b"}'}).only

    assert dict(charge.tags) == {"iamPrincipal/team": "a", "resourceTags/team": "b"}


def test_case_5_mantle_rows_with_and_without_a_principal_are_of_one_meter(bills: Bills) -> None:
    mantle = NOVA | {"line_item_usage_type": "USE1-openai.gpt-oss-120b-mantle-output-tokens-standard"}

    found = bills.read(mantle | {"line_item_iam_principal": ""}, mantle)

    assert [c.iam_principal for c in found.charges].count("") == 1
    assert {c.meter.model for c in found.charges} == {"openai.gpt-oss-120b"}


def test_case_6_days_before_principals_were_billed_have_none(bills: Bills) -> None:
    found = bills.read(
        NOVA | {"line_item_usage_start_date": "2026-04-07T23:00:00Z", "line_item_iam_principal": ""},
        NOVA | {"line_item_usage_start_date": "2026-04-08T00:00:00Z"},
    )

    assert [(c.usage_date, bool(c.iam_principal)) for c in found.charges] == [
        (date(2026, 4, 7), False),
        (date(2026, 4, 8), True),
    ]


# 7-12: deliveries and columns -------------------------------------------------------------------------------------------


def test_case_7_a_chunk_that_a_shorter_refresh_blanked_is_empty(bills: Bills) -> None:
    keys = [f"{DATA}/cur-{n:05d}.csv.gz" for n in range(1, 5)]
    header = csv_of([], list(NOVA))
    for key, body in zip(keys, (gzip.compress(csv_of([NOVA])), b"", gzip.compress(b""), gzip.compress(header)), strict=True):
        bills.put(key, body)

    found = bills.deliver(MANIFEST, data_export(keys))

    assert (found.report.rows_read, found.only.costs.billed_cost) == (1, Decimal("0.8"))


def test_case_8_of_thirty_refreshes_in_the_folder_only_the_manifests_files_count(bills: Bills) -> None:
    keys = [f"{DATA}/2026-05-{n:02d}T23:48:02.356Z-execution-{n}/cur-00001.csv.gz" for n in range(1, 31)]
    for key in keys:
        bills.put(key, gzip.compress(csv_of([NOVA])))

    assert bills.deliver(MANIFEST, data_export(keys[-1:])).report.rows_read == 1


def test_case_9_a_late_refund_with_filled_invoice_ids_is_a_negative_charge_of_a_final_day(bills: Bills) -> None:
    final = NOVA | {"bill_invoice_id": "2026040001"}
    refund = final | {"line_item_line_item_type": "Refund", "line_item_unblended_cost": "-0.3", "line_item_usage_amount": ""}

    found = bills.read(final, refund)

    assert {c.line_item_type: c.costs.billed_cost for c in found.charges} == {
        "Usage": Decimal("0.8"),
        "Refund": Decimal("-0.3"),
    }
    assert [d.is_final for d in found.report.days if d.charge_count] == [True]


@pytest.mark.parametrize(
    ("manifest", "data"),
    [
        (
            "a/b/c/cur/metadata/billing_period=2026-04/cur-Manifest.json",
            "a/b/c/cur/data/billing_period=2026-04/cur-00001.csv.gz",
        ),
        ("cur/metadata/BILLING_PERIOD=2026-04/cur-Manifest.json", "cur/data/BILLING_PERIOD=2026-04/cur-00001.csv.gz"),
        ("cur/metadata/BILLING_PERIOD=2026-04/Manifest.json", "cur/data/BILLING_PERIOD=2026-04/a b+c%20d:é.csv.gz"),
    ],
)
def test_case_10_partitions_in_any_case_no_prefix_long_prefixes_and_odd_keys(bills: Bills, manifest: str, data: str) -> None:
    bills.put(data, gzip.compress(csv_of([NOVA])))

    assert bills.deliver(manifest, data_export([data])).report.rows_read == 1


# Case 11, the probe object and the manifest's copies, is in tests/unit/adapters/test_manifest.py: they are never read.


@pytest.mark.parametrize(
    "missing", ["line_item_iam_principal", "tags", "line_item_resource_id", "product", "bill_billing_entity"]
)
def test_case_12_an_export_without_a_column_keeps_its_money_and_says_what_is_lost(bills: Bills, missing: str) -> None:
    rows = [{name: value for name, value in row.items() if name != missing} for row in (NOVA, CLAUDE, STORAGE)]

    found = bills.read(*rows)

    assert sum(c.costs.billed_cost for c in found.charges) == Decimal("0.87935")
    assert any(note.startswith(f"no `{missing}`: ") for note in found.report.notes)


def test_case_12_a_column_under_an_alias_of_its_own_is_missing_and_counted(bills: Bills) -> None:
    row = {("caller" if name == "line_item_iam_principal" else name): value for name, value in NOVA.items()}

    found = bills.read(row)

    assert found.report.unknown_columns == ("caller",)
    assert any(note.startswith("no `line_item_iam_principal`") for note in found.report.notes)


# 13-20: types, sums, units ----------------------------------------------------------------------------------------------


def test_case_13_an_unknown_usage_type_and_an_unknown_line_item_type_keep_their_money_in_sight(bills: Bills) -> None:
    found = bills.read(
        NOVA | {"line_item_usage_type": "USE1-Teleport-beams"}, NOVA | {"line_item_line_item_type": "LoyaltyReward"}
    )

    assert sum(c.costs.billed_cost for c in found.charges) == Decimal("1.6")
    assert {usage_type: billed(of["USD"]) for usage_type, of in found.report.unclassified.items()} == {
        "USE1-Teleport-beams": Decimal("0.8")
    }
    assert {c.feature for c in found.charges} == {"unclassified", "LoyaltyReward"}


LINE_ITEM_TYPES = {
    "Usage": "10",
    "Tax": "1.9",
    "Credit": "-2.5",
    "Refund": "-0.25",
    "EdpDiscount": "-0.5",
    "BundledDiscount": "-0.125",
    "SppDiscount": "-0.0625",
    "Discount": "-0.03125",
    "PrivateRateDiscount": "-0.015",
    "RiVolumeDiscount": "-0.001",
    "Fee": "100",
    "RIFee": "3",
    "DiscountedUsage": "0",
    "SavingsPlanCoveredUsage": "7",
    "SavingsPlanNegation": "-7",
    "SavingsPlanRecurringFee": "5",
    "SavingsPlanUpfrontFee": "50",
    "FlatRateSubscription": "20",
}


def test_case_14_the_invoice_is_the_sum_over_every_line_item_type(bills: Bills) -> None:
    rows = [
        CLAUDE | {"line_item_line_item_type": kind, "line_item_unblended_cost": cost, "line_item_iam_principal": ""}
        for kind, cost in LINE_ITEM_TYPES.items()
    ]
    # Discount and tax rows of a Marketplace product come without its name.
    nameless = [row | {"product": "{}", "line_item_resource_id": ""} for row in rows]

    found = bills.read(*rows, *nameless, STORAGE)

    assert {c.line_item_type for c in found.charges} == set(LINE_ITEM_TYPES)
    assert found.report.totals["USD"].billed_cost == 2 * sum(map(Decimal, LINE_ITEM_TYPES.values()))
    # The quantity of a discount or a tax is no use.
    assert {c.line_item_type for c in found.charges if c.units} == {"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"}


def test_case_15_covered_usage_and_its_negation_net_to_zero_and_are_amortized_once(bills: Bills) -> None:
    covered = NOVA | {"line_item_line_item_type": "SavingsPlanCoveredUsage", "savings_plan_savings_plan_effective_cost": "0.5"}
    negation = NOVA | {"line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": "-0.8"}
    fee = NOVA | {
        "line_item_line_item_type": "SavingsPlanRecurringFee",
        "line_item_unblended_cost": "2",
        "savings_plan_total_commitment_to_date": "2",
        "savings_plan_used_commitment": "1.25",
    }

    totals = bills.read(covered, negation, fee).report.totals["USD"]

    assert (totals.billed_cost, totals.effective_cost) == (Decimal(2), Decimal("1.25"))


def test_the_five_cost_metrics_of_a_row_stand_side_by_side(bills: Bills) -> None:
    row = NOVA | {
        "line_item_line_item_type": "SavingsPlanCoveredUsage",
        "line_item_net_unblended_cost": "0.7",
        "savings_plan_savings_plan_effective_cost": "0.5",
        "savings_plan_net_savings_plan_effective_cost": "0.45",
        "pricing_public_on_demand_cost": "0.9",
    }

    costs = bills.read(row).only.costs

    assert [getattr(costs, metric) for metric in COST_METRICS] == [Decimal(x) for x in ("0.9", "0.8", "0.7", "0.5", "0.45")]


@pytest.mark.parametrize(
    ("kind", "columns", "effective", "net_effective"),
    [
        ("DiscountedUsage", {"reservation_effective_cost": "4", "reservation_net_effective_cost": "3"}, "4", "3"),
        (
            "RIFee",
            {
                "reservation_unused_amortized_upfront_fee_for_billing_period": "1",
                "reservation_unused_recurring_fee": "2",
                "reservation_net_unused_recurring_fee": "1.5",
            },
            "3",
            "2.5",
        ),
        ("Fee", {"reservation_reservation_a_r_n": "arn:aws:ec2:us-east-1:1:reserved-instances/x"}, "0", "0"),
        ("Fee", {}, "0.8", "0.7"),
        ("SavingsPlanUpfrontFee", {}, "0", "0"),
        ("Tax", {}, "0.8", "0.7"),
    ],
)
def test_commitments_are_amortized_as_awss_own_dashboards_do(
    bills: Bills, kind: str, columns: Row, effective: str, net_effective: str
) -> None:
    row = NOVA | {"line_item_line_item_type": kind, "line_item_net_unblended_cost": "0.7"} | dict(columns)

    costs = bills.read(row).only.costs

    assert (costs.effective_cost, costs.net_effective_cost) == (Decimal(effective), Decimal(net_effective))


@pytest.mark.parametrize(
    ("usage_type", "unit"),
    [("USE1-NovaReel-output-seconds", "Seconds"), ("USE1-Nova2.0Omni-output-image-token-count", "1K tokens")],
)
def test_case_16_video_seconds_and_image_tokens_are_no_output_text(bills: Bills, usage_type: str, unit: str) -> None:
    charge = bills.read(NOVA | {"line_item_usage_type": usage_type, "pricing_unit": unit}).only

    assert charge.meter.token_kind is not TokenKind.OUTPUT
    assert charge.feature not in ("inference", "unclassified")


def test_case_17_a_description_of_thousands_beside_a_price_per_million_counts_no_tokens_and_all_money(bills: Bills) -> None:
    charge = bills.read(
        CLAUDE
        | {
            "line_item_usage_type": "USE1-MP:USE1_CacheReadInputTokenCount-Units",
            "line_item_line_item_description": "AWS Marketplace software usage|us-east-1|thousand Cache Read Tokens Regional",
            "line_item_usage_amount": "2",
            "line_item_unblended_cost": "0.66",
        }
    ).only

    assert (charge.units, charge.quantity, charge.costs.billed_cost) == (None, Decimal(2), Decimal("0.66"))


def test_case_18_costs_below_a_millionth_are_added_without_rounding(bills: Bills) -> None:
    rows = [NOVA | {"line_item_unblended_cost": "0.0000008", "line_item_resource_id": str(n)} for n in range(1000)]

    assert bills.read(*rows).report.totals["USD"].billed_cost == Decimal("0.0008")


@pytest.mark.parametrize(
    "principal",
    [
        "arn:aws:sts::000123456789:assumed-role/Role/user@acme.org",
        "arn:aws:sts::000123456789:assumed-role/Role/a+b=c,d.e@f-g_h",
        "arn:aws:iam::000123456789:user/division/BedrockAPIKey-234s",
        "arn:aws-us-gov:sts::000123456789:assumed-role/Role/s",
        "arn:aws-cn:iam::000123456789:user/alice",
    ],
)
def test_case_19_a_principal_is_kept_as_the_bill_has_it(bills: Bills, principal: str) -> None:
    charge = bills.read(NOVA | {"line_item_iam_principal": principal}).only

    assert (charge.iam_principal, charge.account_id) == (principal, "000123456789")


@pytest.mark.parametrize("cell", ['{"team": "a"', "[1]", '{"team": 7}', '"x"', '{"team": "\\ud800"}', "[" * 5000])
def test_case_20_a_malformed_tags_cell_loses_its_tags_and_keeps_its_money(bills: Bills, cell: str) -> None:
    found = bills.read(NOVA | {"tags": cell})

    assert found.only.costs.billed_cost == Decimal("0.8")


# Selecting --------------------------------------------------------------------------------------------------------------


SELECTED = {
    "aispl": NOVA | {"bill_billing_entity": "AISPL"},
    "service": NOVA | {"line_item_product_code": "AmazonBedrockService"},
    "foundation models": NOVA | {"line_item_product_code": "AmazonBedrockFoundationModels"},
    "agentcore": NOVA | {"line_item_product_code": "AmazonBedrockAgentCore"},
    "agentcore data transfer": NOVA
    | {
        "line_item_product_code": "AmazonBedrockAgentCore",
        "line_item_usage_type": "USE1-DataTransfer-Out-Bytes",
        "product_servicecode": "AWSDataTransfer",
    },
    "a code of the family that is not known yet": NOVA | {"line_item_product_code": "AmazonBedrockTomorrow"},
    "marketplace": CLAUDE,
    "marketplace contract": CLAUDE | {"line_item_line_item_type": "Fee", "line_item_resource_id": ""},
    "marketplace row without a name": CLAUDE | {"product": "{}"},
    "marketplace usage under a code of AWS": CLAUDE
    | {"bill_billing_entity": "AWS", "line_item_product_code": "AmazonBedrockFoundationModels"},
    "marketplace of AISPL": CLAUDE | {"bill_billing_entity": "AISPL"},
    "the european sovereign cloud": CLAUDE
    | {"product": "{}", "line_item_resource_id": "arn:aws-eusc:bedrock:eusc-de-east-1::foundation-model/amazon.nova-pro-v1:0"},
    "a name in the map beside an empty column": CLAUDE | {"product_product_name": "", "line_item_resource_id": ""},
}


@pytest.mark.parametrize("row", SELECTED.values(), ids=SELECTED.keys())
def test_what_is_of_bedrock_is_selected(bills: Bills, row: Row) -> None:
    found = bills.read(STORAGE, row)

    assert (found.report.rows_in_scope, found.report.mentions) == (1, ())


def test_a_nameless_row_is_selected_by_the_code_that_another_file_names(bills: Bills) -> None:
    tax = CLAUDE | {
        "line_item_line_item_type": "Tax",
        "line_item_unblended_cost": "0.015",
        "product": "{}",
        "line_item_resource_id": "",
    }
    other = tax | {"line_item_product_code": "9x524th30q694o538qndh9ucht"}
    keys = [f"{DATA}/cur-{n:05d}.csv.gz" for n in (1, 2)]
    bills.put(keys[0], gzip.compress(csv_of([tax, other])))
    bills.put(keys[1], gzip.compress(csv_of([CLAUDE])))

    found = bills.deliver(MANIFEST, data_export(keys))

    assert {c.line_item_type: c.costs.billed_cost for c in found.charges} == {
        "Usage": Decimal("0.07935"),
        "Tax": Decimal("0.015"),
    }


MENTIONED = {
    "operation": STORAGE | {"line_item_operation": "BedrockEvaluation"},
    "resource": STORAGE | {"line_item_resource_id": "arn:aws:bedrock:us-east-1:000123456789:agent/A1"},
    "support": STORAGE | {"line_item_line_item_description": "Consulting on Amazon Bedrock"},
    "usage type": STORAGE | {"line_item_usage_type": "USE1-VendedLog-BedrockAgents"},
    "service code": STORAGE | {"product_servicecode": "AmazonBedrockSomething"},
    "a product map in another form": CLAUDE
    | {
        "product": "{product_name=Claude 3.5 Sonnet (Amazon Bedrock Edition)}",
        "line_item_resource_id": "",
        "line_item_product_code": "7x524th30q694o538qndh9ucht",
    },
    "an opaque code that AWS itself bills": CLAUDE | {"bill_billing_entity": "AWS"},
    "marketplace": CLAUDE
    | {
        "product": '{"product_name": "Prompt Guard"}',
        "line_item_product_code": "8x524th30q694o538qndh9ucht",
        "line_item_resource_id": "x",
        "line_item_line_item_description": "AWS Marketplace software usage|us-east-1|Bedrock requests checked",
    },
}


@pytest.mark.parametrize("row", MENTIONED.values(), ids=MENTIONED.keys())
def test_what_speaks_of_bedrock_and_is_not_of_it_is_reported_and_stays_out(bills: Bills, row: Row) -> None:
    found = bills.read(NOVA, row, STORAGE)

    assert (found.report.rows_in_scope, found.report.totals["USD"].billed_cost) == (1, Decimal("0.8"))
    (mention,) = found.report.mentions
    assert (mention.product_code, mention.usage_type) == (row["line_item_product_code"], row["line_item_usage_type"])
    assert (mention.billed_cost, mention.row_count) == (Decimal(row["line_item_unblended_cost"]), 1)


@pytest.mark.parametrize(
    ("usage_type", "tier", "routing"),
    [
        ("USE1-NovaPro-input-tokens-cross-region-global", Tier.STANDARD, Routing.GLOBAL),
        ("USE1-NovaPro-input-tokens-batch", Tier.BATCH, Routing.REGIONAL),
        ("USE1-MP:USE1_InputTokenCount_Global_Batch-Units", Tier.BATCH, Routing.GLOBAL),
    ],
)
def test_a_row_says_its_tier_and_routing(bills: Bills, usage_type: str, tier: Tier, routing: Routing) -> None:
    charge = bills.read(NOVA | {"line_item_usage_type": usage_type}).only

    assert (charge.meter.tier, charge.meter.routing) == (tier, routing)


def test_currencies_are_never_added(bills: Bills) -> None:
    totals = bills.read(NOVA, NOVA | {"line_item_currency_code": "CNY"}).report.totals

    assert {currency: costs.billed_cost for currency, costs in totals.items()} == {"USD": Decimal("0.8"), "CNY": Decimal("0.8")}


# Published records -------------------------------------------------------------------------------------------------------


def sample(name: str) -> str:
    found = [path for path in inputs.sample_files("cur") if path.name == name]
    if not found:
        pytest.skip("the published samples are not at hand")
    return found[0].read_text()


def test_every_column_of_a_real_export_is_known(bills: Bills) -> None:
    columns = [row["column"] for row in csv.DictReader(sample("cur2_full_schema_june2026.csv").splitlines())]
    assert len(columns) == 131

    found = bills.read({name: NOVA.get(name, "") for name in columns})

    assert (found.report.unknown_columns, found.report.notes) == ((), ())
    assert found.only.costs.billed_cost == Decimal("0.8")


@pytest.mark.parametrize("service", [None, "Amazon Bedrock"])
def test_the_published_focus_rows_are_read_without_loss(bills: Bills, service: str | None) -> None:
    rows = list(csv.DictReader(sample("focus10_aws_sample_rows.csv").splitlines()))
    if service:
        rows = [row | {"ServiceName": service} for row in rows]
    manifest, data = MANIFEST.replace("2026-04", "2024-09"), f"{DATA}/focus.csv.gz".replace("2026-04", "2024-09")
    bills.put(data, gzip.compress(csv_of(rows)))

    found = bills.deliver(manifest, data_export([data], columns=list(rows[0])))

    assert found.report.rows_read == len(rows)
    in_scope = [row for row in rows if "bedrock" in row["ServiceName"].lower()]
    assert found.report.rows_in_scope == len(in_scope)
    for metric, column in {"billed_cost": "BilledCost", "effective_cost": "EffectiveCost", "list_cost": "ListCost"}.items():
        expected = sum((Decimal(row[column]) for row in in_scope), Decimal(0))
        assert sum((getattr(c.costs, metric) for c in found.charges), Decimal(0)) == expected
    assert all("NULL" not in (c.resource_id, c.region, c.pricing_unit) for c in found.charges)


def test_a_focus_row_whose_resource_is_bedrocks_is_selected_without_its_service_name(bills: Bills) -> None:
    row = {
        "ChargePeriodStart": "2026-04-10T00:00:00Z",
        "SubAccountId": "000123456789",
        "ChargeCategory": "Usage",
        "ServiceName": "Claude 3.5 Sonnet",
        "BilledCost": "1.5",
        "ResourceId": "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0",
    }
    key = f"{DATA}/cur-00001.csv.gz"
    bills.put(key, gzip.compress(csv_of([row, row | {"ResourceId": "documents"}])))

    found = bills.deliver(MANIFEST, data_export([key], columns=list(row)))

    assert (found.report.rows_read, found.only.costs.billed_cost) == (2, Decimal("1.5"))


def test_an_account_that_a_tool_took_for_a_number_has_its_zeros_back(bills: Bills) -> None:
    assert bills.read(NOVA | {"line_item_usage_account_id": "123456789"}).only.account_id == "000123456789"


def test_a_usage_row_without_a_usage_type_is_unclassified_under_a_name(bills: Bills) -> None:
    assert list(bills.read(NOVA | {"line_item_usage_type": ""}).report.unclassified) == ["(no usage type)"]
