"""The documents say what is there: links lead somewhere, and nothing that a reader may meet is left out."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import botocore.session
import pytest
import typer.main
import yaml
from botocore.validate import ParamValidator
from typer.core import TyperGroup

from adapters import contracts, report_requests
from adapters.policy import parse_policy
from adapters.sources import focus_layout
from adapters.sources.cost_report_query import LAYOUTS
from adapters.sources.report_layouts import Column
from attribution.coverage import REMEDIES, Gap
from attribution.days import DIMENSIONS
from attribution.deliveries import ReportKind
from bedrock_costs.main import app
from tests.support.stack import template
from truth.cost_report_columns import COLUMNS as CUR_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The fragments of a document's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in HEADING.findall(prose(path))}


def commands(group: TyperGroup, prefix: str) -> list[str]:
    found = [prefix] if group.invoke_without_command else []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        found += commands(command, full) if isinstance(command, TyperGroup) else [full]
    return found


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for path in DOCUMENTS:
        for target in LINK.findall(prose(path)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, fragment = target.partition("#")
            file = (path.parent / unquote(name)).resolve() if name else path
            if not file.exists() or (fragment and fragment not in anchors(file)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")

    assert not broken


def test_every_alarm_says_what_to_do_about_it() -> None:
    alarms = re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", text_of("template.yaml"), re.MULTILINE)
    headings = set(HEADING.findall(text_of("docs/operating.md")))

    assert alarms
    assert not [alarm for alarm in alarms if alarm not in headings]


def test_every_metric_is_described() -> None:
    described = text_of("docs/operating.md").partition("## Metrics")[2].partition("\n## ")[0]
    texts = {
        node.value
        for path in (ROOT / "functions").glob("*/handler.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # What else a handler writes in that way: names of AWS.
    others = {"NewImage", "OldImage", "SequenceNumber", "UpdateOrganizationalUnit"}
    metrics = {text for text in texts if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", text)} - others

    assert metrics
    assert set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", described)) - {"BedrockCostAttribution", "InvocationTtlDays"} == metrics


def test_every_dead_letter_queue_has_a_remedy() -> None:
    queues = re.findall(
        r"^  (\w+(?:DeadLetters|UndeliveredEvents)|UndeliveredEvents):\n", text_of("template.yaml"), re.MULTILINE
    )

    assert queues
    assert not [queue for queue in queues if f"| {queue} |" not in text_of("docs/operating.md")]


def test_every_event_is_described_with_its_example() -> None:
    described = text_of("docs/events.md")
    wire = [
        name
        for name, contract in vars(contracts).items()
        if isinstance(contract, type)
        and issubclass(contract, contracts.Contract)
        and contract is not contracts.Contract
        and not name.startswith("_")
    ]
    examples = sorted(path.name for path in (ROOT / "events").glob("*.json"))
    rules = re.findall(r"eventName: \[([^]]+)\]", text_of("template.yaml"))
    names = [name.strip() for rule in rules for name in rule.split(",")]

    assert wire
    assert examples
    assert names
    assert not [name for name in wire if f"`{name}`" not in described]
    assert not [name for name in examples if f"(../events/{name})" not in described]
    assert not [name for name in names if f"`{name}`" not in described]


def test_every_make_verb_is_described() -> None:
    verbs = re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE)

    assert verbs
    assert not [verb for verb in verbs if f"| `make {verb}` |" not in text_of("CONTRIBUTING.md")]


def test_every_route_of_the_report_api_and_every_parameter_is_described() -> None:
    described = text_of("docs/api.md")
    routes = re.findall(r'@api\.get\("([^"]+)", (\w+)\)', text_of("functions/serve_reports/handler.py"))
    names = {
        (route, field.alias or name)
        for route, query in routes
        for name, field in getattr(report_requests, query).model_fields.items()
    }
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([a-z, ]+) \|", described, re.MULTILINE)
    documented = {
        (f"/v1/{route}", name) for parameters, of in rows for route in of.split(", ") for name in re.findall(r"\w+", parameters)
    }

    assert routes
    assert not [route for route, _ in routes if f"`GET {route.replace('<request_id>', '{request id}')}`" not in described]
    assert documented == {(route.replace("/<request_id>", ""), name) for route, name in names}


def test_every_problem_of_the_report_api_is_described() -> None:
    described = text_of("docs/api.md")
    kinds = re.findall(r'_problem\(HTTPStatus\.\w+, "([a-z-]+)"', text_of("layers/adapters/adapters/report_api.py"))

    assert kinds
    assert not [kind for kind in kinds if f"| `{kind}` |" not in described]


def test_every_gap_is_described_with_its_remedy() -> None:
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text_of("docs/coverage.md"), re.MULTILINE))))

    assert {gap.value for gap in Gap} <= described
    assert set(REMEDIES) == set(Gap)


def test_every_command_is_described() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    known = commands(group, "bedrock-costs")

    assert known
    assert not [command for command in known if f"| `{command}` |" not in text_of("docs/operating.md")]


def test_every_command_that_a_document_shows_exists() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    known = set(commands(group, "bedrock-costs"))
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}
    texts["template.yaml"] = " ".join(re.findall("AlarmDescription: >- .*? Guide:", " ".join(text_of("template.yaml").split())))
    shown = {
        f"{name}: {' '.join(words)}"
        for name, text in texts.items()
        for line in re.findall(r"bedrock-costs((?: [a-z][a-z-]*)+)", text)
        if (words := line.split()) and words[0] in group.commands
        and not {f"bedrock-costs {words[0]}", f"bedrock-costs {' '.join(words[:2])}"} & known
    }  # fmt: skip

    assert not shown


def test_the_examples_of_the_policy_page_are_policies() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", text_of("docs/policy.md"), re.DOTALL)

    # As `config check` reads it: what is plain stays text.
    policies = [parse_policy(yaml.load(example, yaml.BaseLoader)) for example in examples]  # noqa: S506 - builds text alone

    assert policies[0].cost_categories
    assert policies[0].budgets
    assert any(policy.shared_charges for policy in policies)


def test_every_dimension_is_in_the_policy_page() -> None:
    assert not [name for name in DIMENSIONS if f"`{name}`" not in text_of("docs/policy.md")]


def test_every_column_that_is_read_is_described() -> None:
    every = {
        ReportKind.CUR_2_0: CUR_COLUMNS,
        ReportKind.FOCUS: {*focus_layout.REQUIRED, *focus_layout.AMOUNTS, *focus_layout.OPTIONAL},
    }
    described = text_of("docs/cost-reports.md")

    for kind, names in every.items():
        layout = LAYOUTS[kind]
        used = layout.map(layout.columns([Column(name, name) for name in names])).used
        assert len(used) > 10
        assert not [name for name in used if f"`{name}`" not in described]


def fenced(name: str, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


def test_the_export_to_copy_is_one_that_aws_takes_and_selects_every_column_that_is_read() -> None:
    export, *_ = [json.loads(block) for block in fenced("docs/cost-reports.md", "json")]
    query = export["DataQuery"]["QueryStatement"]
    selected = query.removeprefix("SELECT ").removesuffix(" FROM COST_AND_USAGE_REPORT").split(", ")
    model = botocore.session.get_session().get_service_model("bcm-data-exports").operation_model("CreateExport")
    layout = LAYOUTS[ReportKind.CUR_2_0]
    every, copied = (layout.map(layout.columns([Column(name, name) for name in names])) for names in (CUR_COLUMNS, selected))

    assert model.input_shape is not None
    assert not ParamValidator().validate({"Export": export}, model.input_shape).has_errors()
    assert set(selected) == every.used
    assert not copied.notes


def test_what_other_accounts_forward_is_what_the_rules_of_the_stack_ask_for() -> None:
    forwarding = yaml.safe_load(next(b for b in fenced("docs/operating.md", "yaml") if "ForwardRule" in b))["Resources"]
    forwarded = forwarding["ForwardRule"]["Properties"]
    rules = [template()["Resources"][name]["Properties"] for name in ("BedrockCallRule", "BedrockChangeRule", "SessionRule")]

    for field in ("eventSource", "eventName"):
        asked = {value for rule in rules for value in rule["EventPattern"]["detail"][field]}
        assert set(forwarded["EventPattern"]["detail"][field]) == asked
    assert {rule.get("State", "ENABLED") for rule in rules} >= {forwarded["State"]}


def test_policies_to_copy_are_json() -> None:
    blocks = [b for name in ("docs/cost-reports.md", "docs/operating.md") for b in fenced(name, "json")]

    assert len([block for block in blocks if "Effect" in json.dumps(json.loads(block))]) == 3


def test_the_example_of_a_budget_of_aws_is_a_policy() -> None:
    examples = [yaml.load(block, yaml.BaseLoader) for block in fenced("docs/budgets.md", "yaml")]  # noqa: S506 - builds text alone

    assert [parse_policy(e).budgets for e in examples if "aws" in e["budgets"][0]]


def test_every_test_that_a_document_names_exists() -> None:
    defined = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    lost = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in DOCUMENTS
        for name in re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8"))
        if name not in defined
    ]

    assert not lost


def test_every_file_that_a_document_names_exists() -> None:
    lost = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in DOCUMENTS
        for name in re.findall(
            r"`((?:layers|functions|cli|truth|local|tests|events|docs)/[\w./-]+\.\w+)`", path.read_text(encoding="utf-8")
        )
        if not (ROOT / name).exists()
    ]

    assert not lost


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", sorted((ROOT / "docs/images").glob("*.png")), ids=lambda path: path.stem)
def test_a_picture_is_small_enough_to_load_at_once(path: Path) -> None:
    assert path.stat().st_size < 250_000
