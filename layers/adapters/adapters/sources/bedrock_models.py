"""Bedrock's control plane: what an inference profile, a custom model or provisioned throughput stands for; who is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, InvalidRegionError

from attribution.directory import INFERENCE_PROFILE, Described, kind_of, region_of_arn

_GONE = ("ResourceNotFoundException", "ValidationException")
# A Region that is not enabled knows no token of the account.
_DENIED = ("AccessDeniedException", "UnrecognizedClientException")
# A deployment leads to a custom model, and that to its base.
_LONGEST_CHAIN = 3


class BedrockModels:
    """`BedrockModels` of this account: profiles of the function's own Region, single ARNs in the Region that they name."""

    def __init__(self, client: Callable[..., Any]) -> None:
        self._client = client

    @property
    def region(self) -> str:
        """The Region whose profiles are listed."""
        return str(self._client("bedrock").meta.region_name)

    def inference_profiles(self) -> Iterator[Described]:
        """Every application inference profile, with its tags."""
        client = self._client("bedrock")
        for page in client.get_paginator("list_inference_profiles").paginate(typeEquals="APPLICATION"):
            for profile in page["inferenceProfileSummaries"]:
                try:
                    yield self._profile(client, profile)
                except ClientError as error:
                    # Deleted since it was listed.
                    if error.response["Error"]["Code"] not in _GONE:
                        raise

    def describe(self, arn: str) -> Described | None:
        """What one ARN stands for; None where it does not exist. What this account may not see raises `PermissionError`."""
        client = self._client("bedrock", region_of_arn(arn) or None)
        try:
            if kind_of(arn) == INFERENCE_PROFILE:
                return self._profile(client, client.get_inference_profile(inferenceProfileIdentifier=arn))
            return Described(arn, self._base(client, arn, _LONGEST_CHAIN), tags=self._tags(client, arn))
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            if error.response["Error"]["Code"] in _DENIED:
                raise PermissionError(f"{arn} may not be read") from error
            raise

    def is_logging(self, region: str) -> bool:
        """Whether model invocation logging is on in a Region, to whatever destination."""
        try:
            found = self._client("bedrock", region).get_model_invocation_logging_configuration().get("loggingConfig") or {}
        except (EndpointConnectionError, InvalidRegionError) as error:
            raise PermissionError(f"Bedrock does not answer in {region}") from error
        except ClientError as error:
            if error.response["Error"]["Code"] in _DENIED:
                raise PermissionError(f"the logging configuration of {region} may not be read") from error
            raise
        return bool(found.get("s3Config") or found.get("cloudWatchConfig"))

    def _profile(self, client: Any, profile: Any) -> Described:
        arn = profile["inferenceProfileArn"]
        models = tuple(sorted(model["modelArn"] for model in profile["models"]))
        return Described(arn, models, profile["inferenceProfileName"], self._tags(client, arn))

    def _base(self, client: Any, arn: str, steps: int) -> tuple[str, ...]:
        """The foundation model behind an ARN; none where its kind has none, as an imported model."""
        kind = kind_of(arn)
        if kind == "provisioned-model":
            return (client.get_provisioned_model_throughput(provisionedModelId=arn)["foundationModelArn"],)
        if kind == "custom-model":
            base = client.get_custom_model(modelIdentifier=arn).get("baseModelArn", "")
        elif kind == "custom-model-deployment":
            base = client.get_custom_model_deployment(customModelDeploymentIdentifier=arn)["modelArn"]
        else:
            return (arn,) if kind == "foundation-model" else ()
        return self._base(client, base, steps - 1) if base and steps else ()

    def _tags(self, client: Any, arn: str) -> tuple[tuple[str, str], ...]:
        tags = client.list_tags_for_resource(resourceARN=arn).get("tags", [])
        return tuple(sorted((tag["key"], tag["value"]) for tag in tags))
