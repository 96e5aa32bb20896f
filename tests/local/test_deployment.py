"""The built directory on the local AWS: what is changed is said, what fails is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from local import deployment
from local.deployment import Deployment, DeploymentError
from tests.local.support import INPUT_BUCKET, LocalAws, build_one_function


def write_template(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "template.yaml").write_text(text)
    return directory


def test_a_left_out_resource_is_a_note_and_its_output_is_gone(aws: LocalAws) -> None:
    assert "left out on the local AWS: Archive (AWS::Events::Archive)" in aws.deployment.notes
    assert "ArchiveName" not in aws.deployment.outputs
    assert aws.deployment.outputs["RecordsTable"].startswith("local-test-Records")


@pytest.mark.parametrize("parameters", [{}, {"PythonRuntime": "python3.12"}])
def test_another_runtime_is_a_note(aws: LocalAws, tmp_path: Path, parameters: dict[str, str]) -> None:
    stated = parameters.get("PythonRuntime", "python3.10")
    deployed = deployment.deploy(aws.emulator, build_one_function(tmp_path), stack_name="one-function", parameters=parameters)

    assert deployed.notes == (f"functions of Runtime {stated} run as {aws.emulator.runtime} on the local AWS",)
    function = aws.client("lambda").get_function_configuration(FunctionName=deployed.function("Only"))
    assert function["Runtime"] == aws.emulator.runtime


def test_deploying_the_same_build_again_changes_nothing(aws: LocalAws, built: Path) -> None:
    again = deployment.deploy(
        aws.emulator, built, stack_name="local-test", parameters={"InputBucket": INPUT_BUCKET}, tags={"team": "tests"}
    )

    assert again.resources == aws.deployment.resources


def test_changed_code_runs_after_the_next_deployment(aws: LocalAws, tmp_path: Path) -> None:
    def answer(deployed: Deployment) -> bytes:
        invoked = aws.client("lambda").invoke(FunctionName=deployed.function("Only"), Payload=b'{"answer": "same"}')
        content: bytes = invoked["Payload"].read()
        return content

    build = build_one_function(tmp_path)
    first = deployment.deploy(aws.emulator, build, stack_name="changing")
    assert answer(first) == b'"same"'
    (build / "Only" / "handler.py").write_text("def lambda_handler(event, context):\n    return 'changed'\n")

    second = deployment.deploy(aws.emulator, build, stack_name="changing")

    assert second.function("Only") == first.function("Only")
    assert answer(second) == b'"changed"'


def test_the_failed_resource_and_its_reason_are_named(aws: LocalAws, tmp_path: Path) -> None:
    template = """
Resources:
  Fine:
    Type: AWS::SQS::Queue
  Parameter:
    Type: AWS::SSM::Parameter
    Properties: {Type: SecureString, Value: x}
"""
    with pytest.raises(DeploymentError, match=r"stack failing is ROLLBACK_COMPLETE: Parameter \(AWS::SSM::Parameter\)"):
        deployment.deploy(aws.emulator, write_template(tmp_path, template), stack_name="failing")


def test_a_resource_that_needs_a_left_out_one_is_named(aws: LocalAws, tmp_path: Path) -> None:
    template = """
Resources:
  Archive:
    Type: AWS::Events::Archive
    Properties: {SourceArn: x}
  User:
    Type: AWS::SSM::Parameter
    Properties: {Type: String, Value: !Sub "${Archive}"}
"""
    with pytest.raises(DeploymentError, match=r"Archive \(AWS::Events::Archive\) does not exist .* User refers to it"):
        deployment.deploy(aws.emulator, write_template(tmp_path, template))


def test_a_missing_artifact_is_named(aws: LocalAws, tmp_path: Path) -> None:
    template = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Lost:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: Lost, Handler: a.b, Runtime: python3.13}
"""
    with pytest.raises(DeploymentError, match=r"CodeUri of Lost is Lost, but .* is no directory: run `sam build`"):
        deployment.deploy(aws.emulator, write_template(tmp_path, template))


def test_an_absent_build_says_what_to_run(aws: LocalAws, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="run `sam build` first"):
        deployment.deploy(aws.emulator, tmp_path)


def test_functions_are_found_by_folder_and_by_logical_id() -> None:
    functions = {"RollUpUsageFunction": "a", "AllocateCharges": "b"}
    deployed = deployment.Deployment("stack", {}, functions, functions, ())

    names = ("roll_up_usage", "RollUpUsageFunction", "allocate_charges", "AllocateCharges")
    assert [deployed.function(name) for name in names] == ["a", "a", "b", "b"]
    with pytest.raises(DeploymentError, match="no function nothing; it has AllocateCharges, RollUpUsageFunction"):
        deployed.function("nothing")


def test_parameters_come_from_samconfig(tmp_path: Path) -> None:
    path = tmp_path / "samconfig.toml"
    path.write_text('[local.deploy.parameters]\nparameter_overrides = ["A=1", "B=x=y"]\n')

    assert deployment.parameters_from_samconfig(path) == {"A": "1", "B": "x=y"}
    assert deployment.parameters_from_samconfig(tmp_path / "absent.toml") == {}
    with pytest.raises(DeploymentError, match="'A' is not of the form Key=Value"):
        deployment.parse_override("A")


def test_short_tags_are_read_as_their_long_forms() -> None:
    text = "a: !GetAtt X.Arn.Y\nb: !Ref P\nc: !If [C, !Sub '${A}', 2012-10-17]\nd: 2012-10-17\n"

    assert yaml.load(text, Loader=deployment._TemplateLoader) == {  # noqa: S506  a SafeLoader
        "a": {"Fn::GetAtt": ["X", "Arn.Y"]},
        "b": {"Ref": "P"},
        "c": {"Fn::If": ["C", {"Fn::Sub": "${A}"}, "2012-10-17"]},
        "d": "2012-10-17",
    }
