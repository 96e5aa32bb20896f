"""`config`: the policy document, checked with file and line, put in force, shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from adapters.budget_documents import BudgetDocument
from adapters.policy import parse_policy
from tests.unit.cli.support import Cloud, run

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
    assert document.cost_categories[0].accounts == {"012345678901": "platform"}
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


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "budgets:\n  - name: b\n    limit: {amount: -1}\n    dimension: team\n",
            ":3: budgets.0.limit.amount: Input should be",
        ),
        ("budgets:\n  - name: b\n    limitt: 1\n", ":3: budgets.0.limitt: there is no such key"),
        ("\nbudgets:\n  - dimension: team\n    limit: {amount: 1}\n", ":3: budgets.0.name: the key is missing"),
        (
            "budgets:\n  - name: a\n    limit: {amount: 1}\n    dimension: model\n"
            "  - name: b\n    limit: {amount: 1}\n    dimension: tema\n",
            ":5: document: budget 'b': unknown dimension 'tema'",
        ),
        (
            "cost_categories:\n  - name: x\n  - name: y\n  - name: x\n",
            ":4: document: cost category 'x' is defined twice",
        ),
        (
            "cost_categories:\n  - name: x\n    accounts:\n      '12': y\n",
            ":4: cost_categories.0.accounts.12: an account id is 12 digits",
        ),
        ("cost_categories:\n  - name: x\n    evidence: [hearsay]\n", ":2: cost_categories.0: unknown evidence"),
        ("- a\n- b\n", ":1: document: write the keys cost_categories and budgets"),
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
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, content: str, error: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content)

    ran = run("config", "check", str(file))

    assert ran.exit_code == 1
    assert error in ran.err
    assert str(file) in ran.err


def test_an_invalid_document_is_not_applied(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("budgets: 5\n")

    assert run("config", "apply", str(file)).exit_code == 1
    assert cloud.policy.document().budgets == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary, huge = tmp_path / "binary.yaml", tmp_path / "huge.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    huge.write_bytes(b"#" * (1024 * 1024 + 1))

    assert "is not UTF-8 text" in run("config", "check", str(binary)).err
    assert "larger than 1,048,576 bytes" in run("config", "check", str(huge)).err
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
