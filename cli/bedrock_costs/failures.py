"""Expected failures: each says what happened, why, and what to do, and has an exit code. They never show a traceback."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told. `USAGE` is also what a wrong option or argument ends with."""

    OK = 0
    RUNTIME = 1
    USAGE = 2
    NOT_READY = 4
    PERMISSION = 5


EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 4 no data yet, 5 missing credentials or permission."


@dataclass
class Failure(Exception):
    """What went wrong, why where it is known, and how to fix it; `details` are lines of their own."""

    what: str
    why: str = ""
    fix: str = ""
    code: ExitCode = ExitCode.RUNTIME
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.what


_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "AuthorizationError",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "NotAuthorized",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "403",
}
_EXPIRED = ("ExpiredToken", "ExpiredTokenException")


def explain(error: Exception) -> Failure | None:
    """An error that can be expected as a failure; None for one that is a defect of this program."""
    from botocore.exceptions import BotoCoreError, ClientError

    from attribution.errors import AttributionError

    if isinstance(error, Failure):
        return error
    if isinstance(error, ClientError):
        return _client_failure(error)
    if isinstance(error, BotoCoreError):
        return _sdk_failure(error)
    if isinstance(error, AttributionError):
        return _ledger_failure(error)
    if isinstance(error, OSError):
        return Failure(str(error), fix="Check the path, the network and the permissions, then run the command again.")
    return None


def is_denied(error: Exception) -> bool:
    """Whether AWS refused a call for lack of permission."""
    response = getattr(error, "response", None) or {}
    return response.get("Error", {}).get("Code") in _DENIED


def _ledger_failure(error: Exception) -> Failure:
    from attribution.errors import NotInLedger, Unanswered

    if not isinstance(error, Unanswered):
        return Failure(str(error))
    code = ExitCode.NOT_READY if isinstance(error, NotInLedger) else ExitCode.RUNTIME
    return Failure(error.what, error.why, error.remedy, code, error.details)


def _client_failure(error: Exception) -> Failure:
    response = getattr(error, "response", {})
    code, message = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    operation = getattr(error, "operation_name", "a call")
    if is_denied(error):
        fix = (
            "Sign in again: the credentials have expired."
            if code in _EXPIRED
            else "Use credentials that may do this (--profile, or AWS_PROFILE), or have the permission granted."
        )
        return Failure(f"AWS refused {operation} ({code})", message, fix, ExitCode.PERMISSION)
    return Failure(f"AWS could not do {operation} ({code})", message, "Correct what the message names, or try again later.")


def _sdk_failure(error: Exception) -> Failure:
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"):
        return Failure(
            "no usable AWS credentials",
            str(error),
            "Sign in, or name a profile with --profile or AWS_PROFILE.",
            ExitCode.PERMISSION,
        )
    if name in ("UnauthorizedSSOTokenError", "SSOTokenLoadError"):
        return Failure("the AWS sign-in has expired", str(error), "Run: aws sso login", ExitCode.PERMISSION)
    if name == "ProfileNotFound":
        return Failure(str(error), fix="Name one of the profiles in ~/.aws/config.", code=ExitCode.USAGE)
    if name == "NoRegionError":
        return Failure("no Region is set", fix="Name it with --region, AWS_REGION or the profile.", code=ExitCode.USAGE)
    if name in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        return Failure(str(error), fix="Check the network, --region and --endpoint-url.")
    return Failure(str(error))
