"""`config`: the policy document, checked with file and line, put in force, shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.budget_documents import BudgetDocument
from adapters.policy import parse_policy
from attribution.expressions import Subject
from tests.unit.cli.support import Cloud, put_october, run

POLICY = """\
cost_categories:
  - name: team
    keys: [team, Team]
    accounts:
      012345678901: platform   # YAML would read an octal number
budgets:
  - name: search monthly
    limit: {amount: 1000.10}
    dimension: team
    values: [search, no]
    thresholds: [79.5, 100]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def test_apply_puts_a_document_in_force_exactly_as_written(cloud: Cloud, policy: Path) -> None:
    ran = run("config", "apply", str(policy))

    document = cloud.policy.document()
    assert ran.exit_code == 0
    assert "is in force: 1 cost category, 1 budget." in ran.out
    assert document.plain()["cost_categories"][0]["accounts"] == {"012345678901": "platform"}
    budget = document.budgets[0]
    assert isinstance(budget, BudgetDocument)
    assert str(budget.limit.amount) == "1000.10"
    assert budget.values == ("search", "no")
    assert [str(t) for t in budget.thresholds] == ["79.5", "100"]


def test_applying_it_again_changes_nothing(cloud: Cloud, policy: Path) -> None:
    first = run("config", "apply", str(policy), output="json").json
    second = run("config", "apply", str(policy), output="json").json

    assert (first["outcome"], second["outcome"]) == ("applied", "unchanged")
    assert first["version"] == second["version"]


def test_another_order_of_patterns_is_another_policy(cloud: Cloud, policy: Path) -> None:
    patterns = ["'*@example.com': everybody", "'ada@*': search"]
    seen = []
    for listed in (patterns, patterns[::-1]):
        policy.write_text(f"cost_categories:\n  - name: team\n    session_names: {{{', '.join(listed)}}}\n")
        seen.append(run("config", "apply", str(policy), output="json").json)

    assert [ran["outcome"] for ran in seen] == ["applied", "applied"]
    assert seen[0]["version"] != seen[1]["version"]
    (category,) = cloud.policy.document().definitions()
    assert category.categorize(Subject("1", iam_principal="arn:aws:sts::1:assumed-role/R/ada@example.com")).value == "search"


def test_a_policy_with_thousands_of_rules_is_kept(cloud: Cloud) -> None:
    leaves = [{"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [f"{n:012d}"]}} for n in range(500)]
    rules = [{"Value": f"team {n}", "Rule": leaf} for n, leaf in enumerate(leaves)]
    names = [f"C{n}" for n in range(15)]
    definitions = [{"Name": name, "RuleVersion": "CostCategoryExpression.v1", "Rules": rules} for name in names]

    cloud.policy.apply(parse_policy({"cost_categories": definitions}))

    assert cloud.policy.document().category_names() == tuple(names)


def test_a_document_that_is_in_force_is_validated_once(cloud: Cloud, policy: Path) -> None:
    run("config", "apply", str(policy))
    first = cloud.policy.document()
    policy.write_text(POLICY.replace("search monthly", "search by month"))

    assert cloud.policy.document() is first
    run("config", "apply", str(policy))
    assert cloud.policy.document().budgets[0].name == "search by month"


def test_what_show_prints_can_be_applied(cloud: Cloud, policy: Path) -> None:
    run("config", "apply", str(policy))

    shown = run("config", "show")

    assert parse_policy(yaml.safe_load(shown.out)) == cloud.policy.document()
    assert parse_policy(run("config", "show", output="json").json["policy"]) == cloud.policy.document()
    assert 'budget,search monthly,"team: search, no",1000.10 USD' in run("config", "show", output="csv").out


def test_before_anything_is_applied_there_is_one_cost_category(cloud: Cloud) -> None:
    assert "- name: team\n" in run("config", "show").out


def test_check_needs_no_aws(policy: Path) -> None:
    assert run("config", "check", str(policy)).out == f"{policy} is valid: 1 cost category, 1 budget.\n"


def test_json_may_be_indented_with_tabs(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{\n\t"budgets": [\n\t\t{"name": "b", "limit": {"amount": "5"}, "dimension": "model"}\n\t]\n}')

    assert run("config", "check", str(file)).exit_code == 0


# Nine rules, each with nine of the one before: half a billion conditions in a kilobyte.
ALIASES_OF_ALIASES = (
    "cost_categories:\n  - Name: x\n    RuleVersion: CostCategoryExpression.v1\n    Rules:\n"
    "      - {Value: v, Rule: &r0 {Dimensions: {Key: REGION, Values: [x]}}}\n"
    + "".join(f"      - {{Value: v, Rule: &r{n} {{And: [{', '.join([f'*r{n - 1}'] * 9)}]}}}}\n" for n in range(1, 10))
)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "budgets:\n  - name: b\n    limit: {amount: -1}\n    dimension: team\n",
            ":3: budgets.0.limit.amount: write 0.01 or more",
        ),
        ("budgets:\n  - name: b\n    limitt: 1\n", ":3: budgets.0.limitt: there is no such key"),
        ("\nbudgets:\n  - dimension: team\n    limit: {amount: 1}\n", ":3: budgets.0.name: the key is missing"),
        (
            "budgets:\n  - name: a\n    limit: {amount: 1}\n    dimension: model\n"
            "  - name: b\n    limit: {amount: 1}\n    dimension: tema\n",
            ":7: budgets.1.dimension: budget 'b': unknown dimension 'tema'",
        ),
        (
            "cost_categories:\n  - name: x\n  - name: y\n  - name: x\n",
            ":4: cost_categories.2: cost category 'x' is defined twice",
        ),
        (
            "anomaly_monitors:\n  - name: teams\n    dimension: tema\n",
            ":3: anomaly_monitors.0.dimension: anomaly monitor 'teams': there is no dimension 'tema'; choose from team,",
        ),
        (
            "anomaly_monitors:\n  - name: teams\n    dimension: team\n    route: nowhere\n",
            ":4: anomaly_monitors.0.route: anomaly monitor 'teams': there is no route 'nowhere'",
        ),
        (
            "anomaly_monitors:\n  - name: teams\n    dimension: team\n    minimum_impact: -1\n",
            ":4: anomaly_monitors.0.minimum_impact: write 0 or more",
        ),
        (
            "cost_categories:\n  - name: x\n    accounts:\n      '12': y\n",
            ":4: cost_categories.0.accounts.12: an account id is 12 digits",
        ),
        ("cost_categories:\n  - name: x\n    evidence: [hearsay]\n", ":2: cost_categories.0: unknown evidence"),
        ("- a\n- b\n", ":1: document: write the keys cost_categories, shared_charges and budgets"),
        ("cost_categories:\n  - x\n", ":2: cost_categories.0: write its keys"),
        ("cost_categories:\n  - name: x\n    keys: team\n", ":3: cost_categories.0.keys: write a list: [team]"),
        ("cost_categories:\n  - name: '#x'\n", ":2: cost_categories.0.name: begin with a letter or digit"),
        (
            "cost_categories:\n  - name: x\n    accounts: [y]\n",
            ':3: cost_categories.0.accounts: write {"111122223333": platform}',
        ),
        (
            "budgets:\n  - name: b\n    limit: 5\n    dimension: model\n",
            ':3: budgets.0.limit: write {amount: "5", currency: USD}',
        ),
        (
            "budgets:\n  - name: b\n    limit: {amount: 5, currency: usd}\n    dimension: model\n",
            ":3: budgets.0.limit.currency: write an ISO code in capital letters, such as USD",
        ),
        (
            "budgets:\n  - name: b\n    limit: {amount: much}\n    dimension: model\n",
            ":3: budgets.0.limit.amount: write a number, such as 1200 or 99.50",
        ),
        ("budgets: []\nbudgets: []\n", ":2: budgets: the key is given twice"),
        ("budgets:\ncost_categories: []\n", ":1: budgets: the key has no value"),
        ("budgets: [\n  - x\n", ":2: "),
        ("budgets: \x00", "policy.yaml"),
        ("", "policy.yaml is empty"),
        ("a: &a [*a]\n", ":1: found unconstructable recursive node"),
        ("budgets: []\n? [a, b]\n: c\n", ":2: a key is plain text, no list and no mapping"),
        ("budgets:\n  " + "[" * 2_000 + "]" * 2_000, ":2: nested more than 100 deep: no policy is"),
        ("budgets: " + "{a: " * 2_000 + "1" + "}" * 2_000, ":1: nested more than 100 deep: no policy is"),
        (ALIASES_OF_ALIASES, "its aliases stand for more than 1,000,000 values: no policy is that large"),
        (
            "routes:\n  - {name: ops, match: {teem: [a]}}\n",
            ":2: routes.0.match.teem: route 'ops': unknown dimension 'teem'; choose from",
        ),
        (
            "routes:\n  - {name: ops, alarms: true}\n  - {name: it, alarms: true}\n",
            "route 'it' never tells an alarm: 'ops' before",
        ),
        ("routes:\n  - name: ops\n    alarms: loud\n", ":3: routes.0.alarms"),
        ("routes:\n  - {name: ops, alarms: true, digests: [{}]}\n", ":2: routes.0: a route of alarms alone has nothing to put"),
        ("routes:\n  - {name: ops, digests: [{dimension: provider}]}\n", "route 'ops': digest: unknown dimension 'provider'"),
        ("slack_users:\n  - {users: [U012], sees: {teem: [a]}}\n", "slack_users of U012: unknown dimension 'teem'"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, content: str, error: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content)

    ran = run("config", "check", str(file))

    assert ran.exit_code == 1
    assert error in ran.err
    assert str(file) in ran.err


DEFINITION = """\
{
\t"CostCategory": {
\t\t"Name": "Team", "RuleVersion": "CostCategoryExpression.v1",
\t\t"Rules": [
\t\t\t{"Value": "search", "Rule": {"Tags": {"Key": "team", "Values": ["search"]}}},
\t\t\t{"Value": "ads", "Rule": {"And": [
\t\t\t\t{"Dimensions": {"Key": "%s", "Values": ["222222222222"]}}]}}
\t\t]
\t}
}
"""


def test_a_definition_as_aws_prints_it_may_lie_in_a_file_beside_the_policy(cloud: Cloud, policy: Path) -> None:
    (policy.parent / "team.json").write_text(DEFINITION % "LINKED_ACCOUNT")
    policy.write_text("cost_categories:\n  - file: team.json\n  - name: tenant\n")

    ran = run("config", "apply", str(policy))

    assert ran.exit_code == 0
    assert cloud.policy.document().category_names() == ("Team", "tenant")
    shown = run("config", "show")
    assert parse_policy(yaml.safe_load(shown.out)) == cloud.policy.document()


def aws_budget(name: str, **changes: Any) -> dict[str, Any]:
    """A budget as `describe-budgets` prints it."""
    limit = {"Amount": "500", "Unit": "USD"}
    described = {"BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit}
    return described | {"CostFilters": {"Service": ["Amazon Bedrock"]}} | changes


def told(*names: str) -> dict[str, Any]:
    """Notifications as `describe-budget-notifications-for-account` prints them."""
    one = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80.0, "ThresholdType": "PERCENTAGE"}
    return {"BudgetNotificationsForAccount": [{"BudgetName": name, "Notifications": [one]} for name in names]}


def write(directory: Path, **documents: Any) -> None:
    for name, document in documents.items():
        (directory / f"{name}.json").write_text(json.dumps(document, indent=1))


FILES = "budgets:\n  - file: budgets.json\n    notifications: told.json\n    time_zone: Europe/Berlin\n"


def test_budgets_as_aws_prints_them_may_lie_in_files_beside_the_policy(cloud: Cloud, policy: Path) -> None:
    write(policy.parent, budgets={"Budgets": [aws_budget("a"), aws_budget("b")]}, told=told("b", "a"))
    policy.write_text(FILES)

    ran = run("config", "apply", str(policy))

    first, second = cloud.policy.budgets()
    assert (ran.exit_code, ran.err) == (0, NOT_REALLOCATED)
    assert [(b.name, b.zone_name, len(b.notifications)) for b in (first, second)] == [
        ("a", "Europe/Berlin", 1),
        ("b", "Europe/Berlin", 1),
    ]


NOT_REALLOCATED = (
    "Days are allocated by it from their next change on; `bedrock-costs replay days --period YYYY-MM` does it now.\n"
)


def test_what_describe_budgets_printed_may_stand_in_the_policy_itself(policy: Path) -> None:
    policy.write_text(json.dumps({"budgets": [{"aws": {"Budgets": [aws_budget("a"), aws_budget("b")], **told("a", "b")}}]}))

    ran = run("config", "check", str(policy))

    assert (ran.out, ran.err) == (f"{policy} is valid: 1 cost category, 2 budgets.\n", "")


def test_an_error_in_a_file_of_budgets_names_that_file_and_its_line(policy: Path) -> None:
    write(policy.parent, budgets={"Budgets": [aws_budget("a"), aws_budget("b", CostFilters={"Colour": ["red"]})]}, told=told())
    policy.write_text(FILES + "    channel: nowhere\n")

    err = run("config", "check", str(policy)).err

    line = (policy.parent / "budgets.json").read_text().splitlines().index('    "Colour": [') + 1
    assert (
        f"budgets.json:{line}: budgets.1: $.aws.Budget.CostFilters.Colour: budget 'b': this ledger cannot filter by it" in err
    )
    assert f"{policy}:5: budgets.0.channel: budget 'a': there is no route 'nowhere'" in err


@pytest.mark.parametrize(
    ("budgets", "notifications", "warning"),
    [
        ([aws_budget("a"), aws_budget("b")], told("b"), "1 budget has no notification and will tell nothing ('a')"),
        ([aws_budget("a")], told("a", "ghost"), "'ghost' is not in"),
        ([aws_budget("all", CostFilters={})], told("all"), "1 budget does not filter by service ('all')"),
        (
            [aws_budget("all", CostFilters={"Region": ["eu-west-1"]})],
            told("all"),
            "1 budget does not filter by service ('all')",
        ),
    ],
)
def test_what_budgets_of_aws_do_not_do_here_is_said(policy: Path, budgets: list[Any], notifications: Any, warning: str) -> None:
    write(policy.parent, budgets={"Budgets": budgets}, told=notifications)
    policy.write_text(FILES)
    files = [str(policy.parent / name) for name in ("budgets.json", "told.json")]

    checked, imported = (
        run("config", "check", str(policy)),
        run("config", "import-budgets", files[0], "--notifications", files[1]),
    )

    assert (checked.exit_code, imported.exit_code) == (0, 0)
    assert warning in checked.err
    assert warning in imported.err


def test_a_budget_of_bedrock_with_notifications_needs_no_warning(policy: Path) -> None:
    write(policy.parent, budgets={"Budgets": [aws_budget("a")]}, told=told("a"))
    policy.write_text(FILES)

    assert run("config", "check", str(policy)).err == ""


def test_a_file_of_something_else_is_refused_with_its_name(policy: Path) -> None:
    write(policy.parent, budgets={"Things": []}, told=told())
    policy.write_text(FILES)

    assert "budgets.json: the file of budgets has neither Budgets nor Budget" in run("config", "check", str(policy)).err


SEVERAL = """\
budgets:
  - name: a
    limit: {amount: 1}
    dimension: taem
    parent: ghost
    channel: nowhere
  - aws:
      Budget:
        BudgetName: b
        BudgetType: COST
        TimeUnit: MONTHLY
        BudgetLimit: {Amount: "1", Unit: USD}
        FilterExpression:
          And:
            - Dimensions: {Key: REGION, Values: [x]}
            - Tags: {Key: colour, Values: [red]}
        Metrics: [UnblendedCost]
shared_charges:
  - {name: x, record_types: [Tax], method: EVEN, cost_categories: [tema]}
"""


def test_all_that_is_wrong_is_said_at_once_each_with_its_line(policy: Path) -> None:
    policy.write_text(SEVERAL)

    err = run("config", "check", str(policy)).err

    found = [line.split(": ")[0].rpartition(":")[2] for line in err.splitlines() if str(policy) + ":" in line]
    assert found == ["4", "5", "6", "16", "19"]
    assert ":16: budgets.1: $.aws.Budget.FilterExpression.And[1].Tags.Key: budget 'b': no cost category inherits" in err


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "shared_charges:\n  - {name: x, record_types: [Tax], method: HALF}\n",
            "method: write 'PROPORTIONAL', 'EVEN', 'FIXED' or",
        ),
        ("slack_users:\n  - {users: [U012], sees: some}\n", "slack_users.0.sees: write all, or values by dimension"),
        ("slack_users:\n  - {users: [U012], sees: {team: []}}\n", "slack_users.0.sees.team: name at least 1"),
        ("slack_users:\n  - {users: [nobody], sees: all}\n", "slack_users.0.users.0: write the id of a Slack user"),
        ("routes:\n  - {name: a, charts: perhaps}\n", "routes.0.charts: write true or false"),
        ("routes:\n  - {name: a, storm_limit: many}\n", "routes.0.storm_limit: write a whole number"),
        ("routes:\n  - {name: a, storm_limit: 99}\n", "routes.0.storm_limit: write 50 or less"),
        ("budgets:\n  - {name: b, limit: {amount: 1}, start: soon}\n", "budgets.0.start: write a day, such as 2026-10-01"),
        ("budgets:\n  - {name: b, limit: {amount: 1}, metric: cost}\n", "unknown metric 'cost'"),
    ],
)
def test_an_error_is_in_the_words_of_the_document(policy: Path, content: str, error: str) -> None:
    policy.write_text(content)

    err = run("config", "check", str(policy)).err

    assert error in err
    assert not [word for word in ("Value error", "Input should", "literal[", "constrained", "Tuple") if word in err]


def test_every_pattern_of_a_policy_document_has_words() -> None:
    from adapters.policy import PolicyDocument
    from bedrock_costs.policy_words import PATTERNS

    def patterns(node: Any) -> Iterator[str]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if isinstance(node, dict):
            yield from (node[key] for key in ("pattern",) if isinstance(node.get(key), str))
            yield from (key for key in node.get("patternProperties", ()))
        for child in children:
            yield from patterns(child)

    found = set(patterns(PolicyDocument.model_json_schema()))
    assert len(found) > 8
    assert found <= set(PATTERNS)


def test_a_list_is_not_said_to_be_short_where_its_item_is_wrong(policy: Path) -> None:
    write(policy.parent, team=json.loads(DEFINITION % "NOPE"))
    policy.write_text("cost_categories:\n  - file: team.json\n")

    err = run("config", "check", str(policy)).err

    assert "$.Rules[1].Rule.And[0].Dimensions.Key: 'NOPE' cannot be used" in err
    assert "at least" not in err


@pytest.mark.parametrize("form", ["json", "table"])
def test_what_show_prints_is_a_policy_file(cloud: Cloud, policy: Path, form: str) -> None:
    run("config", "apply", str(policy))
    shown = policy.with_name("shown.yaml")
    shown.write_text(run("config", "show", output=form).out)

    again = run("config", "apply", str(shown), output="json")

    assert again.exit_code == 0
    assert again.json["outcome"] == "unchanged"


def test_an_error_in_what_show_prints_names_its_line(policy: Path) -> None:
    policy.write_text(json.dumps({"schema": 1, "policy": {"budgets": 5}}, indent=1))

    assert f"{policy}:4: budgets: write a list" in run("config", "check", str(policy)).err


def test_an_error_in_a_definition_names_its_file_its_line_and_its_place_there(policy: Path) -> None:
    (policy.parent / "team.json").write_text(DEFINITION % "SERVICE")
    policy.write_text("cost_categories:\n  - file: team.json\n")

    ran = run("config", "check", str(policy))

    assert ran.exit_code == 1
    assert "team.json:7: cost_categories.0: $.Rules[1].Rule.And[0].Dimensions.Key: 'SERVICE' cannot be used" in ran.err


def test_a_definition_that_is_not_there_is_said_so(policy: Path) -> None:
    policy.write_text("cost_categories:\n  - file: nowhere.json\n")

    assert "nowhere.json cannot be read" in run("config", "check", str(policy)).err


def test_show_lists_shared_charges_and_what_a_cost_category_looks_for(cloud: Cloud, policy: Path) -> None:
    policy.write_text(
        "cost_categories:\n  - name: team\n    keys: [squad]\n    rules:\n"
        "      - {Value: x, Rule: {SessionTags: {Key: cost, Values: [a]}}}\n"
        "shared_charges:\n  - {name: tax, record_types: [Tax], method: EVEN}\n"
    )
    run("config", "apply", str(policy))

    rows = run("config", "show", output="csv").out.splitlines()

    assert rows[1:] == ['cost_category,team,"cost, squad",', "shared_charge,tax,EVEN,"]


SHARED = "shared_charges:\n  - name: tax\n    method: %s\n"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (SHARED % "EVEN", ":2: shared_charges.0: say which charges: record_types, features or where"),
        (SHARED % "HALF", ":3: shared_charges.0.method"),
        (SHARED % "FIXED" + "    record_types: [Tax]\n", ":2: shared_charges.0: the method FIXED needs targets"),
        (
            SHARED % "UNALLOCATED" + "    record_types: [Tax]\n    within: account\n",
            "the method UNALLOCATED takes neither targets nor within",
        ),
        (
            SHARED % "EVEN" + "    record_types: [Tax]\n    targets: [a]\n",
            "targets are values of a cost category: name it in cost_categories",
        ),
        (
            SHARED % "EVEN" + "    record_types: [Tax]\n    targets: [a]\n    within: account\n",
            "targets are the owners wherever usage was: leave out within",
        ),
        (
            SHARED % "EVEN" + "    record_types: [Tax]\n    targets: [a, a]\n    cost_categories: [team]\n",
            "'a' is a target twice",
        ),
        (
            SHARED % "EVEN" + "    record_types: [Tax]\n    percentages: ['100']\n",
            "percentages are for the method FIXED, not for EVEN",
        ),
        (
            SHARED % "FIXED"
            + "    record_types: [Tax]\n    cost_categories: [team]\n    targets: [a, b]\n    percentages: ['50', '51']\n",
            "the percentages add up to 101, not to 100",
        ),
        (
            SHARED % "EVEN" + "    where: {Dimensions: {Key: SERVICE, Values: [x]}}\n",
            ":4: shared_charges.0.where.Dimensions.Key: 'SERVICE' cannot be used",
        ),
        (
            SHARED % "EVEN" + "    record_types: [Tax]\n    cost_categories: [tema]\n",
            ":5: shared_charges.0.cost_categories: shared charge 'tax': there is no cost category 'tema'",
        ),
        (
            "cost_categories:\n  - name: team\n    split_charges: [{source: a, targets: [b], method: EVEN}]\n"
            + SHARED % "EVEN"
            + "    record_types: [Tax]\n    cost_categories: [team]\n    targets: [a]\n",
            ":9: shared_charges.0.targets: shared charge 'tax': the target 'a' is the source of a split charge rule",
        ),
        (
            "cost_categories:\n  - name: team\n    split_charges: [{source: a, targets: [a], method: EVEN}]\n",
            ":2: cost_categories.0: 'a' is the source of a split charge rule and a target of one",
        ),
        (
            "cost_categories:\n  - name: account\n",
            ":2: cost_categories.0: cost category 'account': that is a dimension of every charge",
        ),
        # Budgets know these besides.
        ("cost_categories:\n  - name: provider\n", "cost category 'provider': that is a dimension of every charge"),
        (
            SHARED % "FIXED"
            + "    record_types: [Tax]\n    cost_categories: [team]\n    targets: [a, b]\n    percentages: ['100', '1E-200']\n",
            "a percentage has at most 30 decimal places",
        ),
        ("incomplete_logging: guess\n", ":1: incomplete_logging: "),
        ("account_names: {'1': x}\n", ":1: account_names.1: an account id is 12 digits"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_its_line(policy: Path, content: str, error: str) -> None:
    policy.write_text(content)

    ran = run("config", "check", str(policy))

    assert ran.exit_code == 1
    assert error in ran.err


def test_an_alias_stands_for_what_its_anchor_does(cloud: Cloud, policy: Path) -> None:
    policy.write_text("cost_categories:\n  - {name: team, keys: &keys [Team, Owner]}\n  - {name: group, keys: *keys}\n")

    assert run("config", "check", str(policy)).exit_code == 0


def test_an_invalid_document_is_not_applied(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("budgets: 5\n")

    assert run("config", "apply", str(file)).exit_code == 1
    assert cloud.policy.document().budgets == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary, huge = tmp_path / "binary.yaml", tmp_path / "huge.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    huge.write_bytes(b"#" * (1024 * 1024 + 1))
    named = tmp_path / "named.yaml"
    named.write_text('cost_categories:\n  - file: "\\0"\n')

    assert "is not UTF-8 text" in run("config", "check", str(binary)).err
    assert "larger than 1,048,576 bytes" in run("config", "check", str(huge)).err
    assert "is no path of a file" in run("config", "check", str(named)).err
    assert "missing.yaml cannot be read: No such file or directory" in run("config", "check", "missing.yaml").err


def test_keys_that_the_stack_does_not_store_are_named(cloud: Cloud, policy: Path) -> None:
    cloud.cloudformation.parameters["AllocationTagKeys"] = "TEAM,tenant"
    policy.write_text("cost_categories:\n  - name: team\n    keys: [team, CostCenter]\n")

    ran = run("config", "apply", str(policy))

    assert ran.exit_code == 0
    assert "CostCenter is not in the stack's AllocationTagKeys" in ran.err
    assert "team is not" not in ran.err


def test_keys_that_only_the_bill_is_asked_for_need_not_be_stored(cloud: Cloud, policy: Path) -> None:
    cloud.cloudformation.parameters["AllocationTagKeys"] = "team"
    policy.write_text("cost_categories:\n  - name: x\n    keys: [CostCenter]\n    evidence: [resource_tag]\n")

    assert "AllocationTagKeys" not in run("config", "apply", str(policy)).err


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (
            SHARED % "EVEN" + "    record_types: [Taxx]\n",
            "shared charge 'tax': there is no line_item_type 'Taxx'; did you mean 'Tax'?",
        ),
        (SHARED % "EVEN" + "    features: [guardrials]\n", "there is no feature 'guardrials'; did you mean 'guardrails'?"),
        (
            "cost_categories:\n  - name: team\n    rules: [{Value: x, Rule: {Dimensions: {Key: TIER, Values: [batsh]}}}]\n",
            "cost category 'team': there is no tier 'batsh'; did you mean 'batch'?",
        ),
        (
            "budgets:\n  - {name: b, limit: {amount: 1}, dimension: token_kind, values: [outputs]}\n",
            "budget 'b': there is no token_kind 'outputs'; did you mean 'output'?",
        ),
        (
            "budgets:\n  - {name: b, limit: {amount: 1}, dimension: model, values: [Claude Sonnet 4.6]}\n",
            "by its id: write 'anthropic.claude-sonnet-4-6'",
        ),
    ],
)
def test_a_name_that_nothing_can_have_is_named_without_aws(policy: Path, content: str, warning: str) -> None:
    policy.write_text(content)

    ran = run("config", "check", str(policy), output="json")

    assert ran.exit_code == 0
    assert warning in ran.err
    assert [warning in found for found in ran.json["warnings"]] == [True]


TYPOS = """\
budgets:
  - {name: typo, limit: {amount: 1}, dimension: team, values: [serach]}
  - {name: right, limit: {amount: 1}, dimension: team, values: [support, (unallocated)]}
routes:
  - {name: r, match: {team: [search, searhc]}, secret: bedrock-costs/slack}
  - {name: rest}
"""


@pytest.mark.parametrize("verb", ["apply", "plan"])
def test_values_that_no_recent_day_has_are_named(
    cloud: Cloud, policy: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("planning", "commands.config", "commands.config_plan"):
        monkeypatch.setattr(f"bedrock_costs.{module}.now", lambda: datetime(2026, 10, 20, tzinfo=UTC))
    put_october(cloud)
    policy.write_text(TYPOS)

    err = run("config", verb, str(policy)).err

    assert "budget 'typo': no day of the last 90 has team 'serach'; did you mean 'search'?" in err
    assert "route 'r': no day of the last 90 has team 'searhc'; did you mean 'search'?" in err
    assert err.count("no day of the last 90") == 2


def test_values_are_not_judged_by_a_ledger_without_days(cloud: Cloud, policy: Path) -> None:
    policy.write_text(TYPOS)

    assert "no day of the last" not in run("config", "apply", str(policy)).err


def test_a_value_that_a_rule_of_the_document_gives_is_known(
    cloud: Cloud, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("planning", "commands.config"):
        monkeypatch.setattr(f"bedrock_costs.{module}.now", lambda: datetime(2026, 10, 20, tzinfo=UTC))
    put_october(cloud)
    policy.write_text(
        "cost_categories:\n  - {name: team, accounts: {'111122223333': new}}\n"
        "routes:\n  - {name: r, match: {team: [new]}}\n  - {name: rest}\n"
    )
    run("config", "apply", str(policy))

    assert "no day of the last" not in run("config", "apply", str(policy)).err


@pytest.mark.parametrize(("prefix", "is_reached"), [("", False), ("other/", False), ("bedrock-costs/", True)])
def test_a_secret_that_the_stack_may_not_read_is_named(cloud: Cloud, policy: Path, prefix: str, is_reached: bool) -> None:
    cloud.cloudformation.parameters["SlackSecretPrefix"] = prefix
    policy.write_text(TYPOS)

    err = run("config", "apply", str(policy)).err

    assert ("SlackSecretPrefix" not in err) is is_reached


def test_show_lists_what_each_route_tells_and_each_slack_user_sees(cloud: Cloud, policy: Path) -> None:
    policy.write_text(
        "routes:\n  - {name: platform, alarms: true}\n  - {name: search, match: {team: [search, ads]}}\n  - {name: finops}\n"
        "slack_users:\n  - {users: [U0DANA], sees: all}\n  - {users: [U0EVE], sees: {team: [ads]}}\n"
    )
    run("config", "apply", str(policy))

    rows = run("config", "show", output="csv").out.splitlines()

    assert rows[2:] == [
        "route,platform,alarms of the stack,",
        'route,search,"team search, team ads",',
        "route,finops,everything that no other route matches,",
        "slack_user,U0DANA,all,",
        "slack_user,U0EVE,team ads,",
    ]
