"""The company: accounts, teams, tenants, principals, inference profiles, projects and the calls they make.

All tables are fixed; only who calls when, and with how many tokens, depends on the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from truth.catalogue import GEO_PREFIX, MODELS, Model, Routing, Tier
from truth.objects import hex_of, key_id_of

Evidence = Literal[
    "request_metadata",
    "session_tag",
    "inference_profile_tag",
    "project_tag",
    "principal_tag",
    "account",
    "none",
]
"""What names the owner of a charge, strongest first; `none` leaves it unallocated."""

PrincipalKind = Literal[
    "iam_user",
    "api_key_user",
    "lambda_role",
    "ecs_role",
    "ec2_role",
    "sso_user",
    "web_identity",
    "federated_user",
    "gateway",
    "gateway_user",
]
StsApi = Literal["", "AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetFederationToken"]

TEAMS = ("search", "support", "checkout", "growth", "risk", "platform", "research", "data")
RUNAWAY_TENANT = "globex"
RUNAWAY_DAYS = (22, 28)
"""First and last day of the month on which the runaway tenant spikes."""


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """One AWS account of the organisation."""

    account_id: str
    name: str
    tags: tuple[tuple[str, str], ...]
    invoicing_entity: str
    logged_regions: tuple[str, ...]
    """Regions in which model invocation logging is on."""
    billing_entity: str = "AWS"
    """Who bills what AWS itself sells: `AISPL` in India."""


PLATFORM = Account(
    "071245903318",
    "meridian-platform",
    (("environment", "production"),),
    "Amazon Web Services, Inc.",
    ("us-east-1", "eu-west-1"),
)
DATA = Account(
    "284460175392",
    "meridian-data",
    (("environment", "production"),),
    "Amazon Web Services EMEA SARL",
    ("us-east-1",),
)
RESEARCH = Account(
    "619380244751",
    "meridian-research",
    (("environment", "sandbox"), ("team", "research")),
    "Amazon Web Services, Inc.",
    ("us-east-1", "eu-west-1"),
)
ACCOUNTS: Mapping[str, Account] = {account.account_id: account for account in (PLATFORM, DATA, RESEARCH)}
PAYER = PLATFORM
DATA_EVENT_ACCOUNTS = (PLATFORM, RESEARCH)
"""Accounts whose trail selects bedrock-mantle data events."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer behind the gateway, told apart by request metadata alone."""

    name: str
    team: str
    weight: int


TENANTS = (
    Tenant("acme", "support", 9),
    Tenant("initech", "support", 7),
    Tenant("umbrella", "support", 5),
    Tenant("hooli", "search", 8),
    Tenant("stark", "search", 6),
    Tenant("wayne", "checkout", 6),
    Tenant("wonka", "checkout", 4),
    Tenant(RUNAWAY_TENANT, "growth", 3),
    Tenant("soylent", "growth", 5),
    Tenant("tyrell", "risk", 4),
    Tenant("cyberdyne", "risk", 3),
    Tenant("aperture", "platform", 2),
)


@dataclass(frozen=True, slots=True)
class InferenceProfile:
    """An application inference profile; its id says nothing about its model."""

    account: Account
    region: str
    name: str
    model: Model
    routing: Routing
    team: str
    tag_key: str = "team"

    @property
    def arn(self) -> str:
        """The ARN that callers send and logs show."""
        profile_id = hex_of("profile", self.name, digits=12)
        return f"arn:aws:bedrock:{self.region}:{self.account.account_id}:application-inference-profile/{profile_id}"


@dataclass(frozen=True, slots=True)
class Project:
    """A project of the bedrock-mantle endpoint; the default project has no tags."""

    account: Account
    region: str
    project_id: str
    team: str

    @property
    def arn(self) -> str:
        """The ARN of the project."""
        return f"arn:aws:bedrock-mantle:{self.region}:{self.account.account_id}:project/{self.project_id}"


@dataclass(frozen=True, slots=True)
class Size:
    """Smallest and largest number of tokens of each kind in one request."""

    input: tuple[int, int]
    output: tuple[int, int] = (0, 0)
    cache_read: tuple[int, int] = (0, 0)
    cache_write_5m: tuple[int, int] = (0, 0)
    cache_write_1h: tuple[int, int] = (0, 0)
    images: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One way in which a principal calls one model."""

    name: str
    model: Model
    routing: Routing
    operation: str
    size: Size
    tier: Tier = "standard"
    profile: InferenceProfile | None = None
    project: Project | None = None
    resource_in_bill: bool = True

    @property
    def is_mantle(self) -> bool:
        """Whether the call goes to bedrock-mantle, which never writes invocation logs."""
        return self.model.family == "mantle"

    @property
    def is_stream(self) -> bool:
        """Whether the response is streamed."""
        return self.operation in ("ConverseStream", "InvokeModelWithResponseStream")

    def model_id(self, region: str) -> str:
        """What the caller sends as `modelId`."""
        if self.profile:
            return self.profile.arn
        if self.routing == "global":
            return f"global.{self.model.model_id}"
        return f"{GEO_PREFIX[region]}.{self.model.model_id}" if self.routing == "geo" else self.model.model_id

    def resource_id(self, account: Account, region: str) -> str:
        """`line_item_resource_id`; empty for the calls whose usage the bill reports without a resource."""
        if self.profile:
            return self.profile.arn
        if self.project:
            return self.project.arn
        if not self.resource_in_bill:
            return ""
        if self.routing == "regional":
            return f"arn:aws:bedrock:{region}::foundation-model/{self.model.model_id}"
        return f"arn:aws:bedrock:{region}:{account.account_id}:inference-profile/{self.model_id(region)}"


CHECKOUT_PROFILE = InferenceProfile(PLATFORM, "us-east-1", "checkout-assistant", MODELS["claude-sonnet-4-6"], "geo", "checkout")
RISK_PROFILE = InferenceProfile(
    PLATFORM, "us-east-1", "risk-scoring", MODELS["claude-haiku-4-5"], "global", "risk", tag_key="Team"
)
GROWTH_PROFILE = InferenceProfile(DATA, "us-east-1", "growth-copy", MODELS["nova-pro"], "regional", "growth")
PROFILES = (CHECKOUT_PROFILE, RISK_PROFILE, GROWTH_PROFILE)
DATA_PROJECT = Project(DATA, "us-east-1", "proj_" + hex_of("project", "data", digits=20), "data")
PROJECTS = (DATA_PROJECT,)

_AGENT = Size((20_000, 150_000), (2_000, 16_000), (150_000, 700_000), (10_000, 80_000))
_CHAT = Size((4_000, 60_000), (500, 6_000))
_BULK = Size((60_000, 120_000), (3_000, 8_000))
_LONG = Size((40_000, 260_000), (1_500, 8_000), (0, 90_000), (0, 20_000))
_CACHED_NOVA = Size((3_000, 30_000), (400, 3_500), (10_000, 90_000), (1_000, 20_000))
_CACHED_BOTH = Size((5_000, 50_000), (1_000, 8_000), (40_000, 120_000), (4_000, 15_000), (4_000, 15_000))

CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        Call("sonnet46-agent", MODELS["claude-sonnet-4-6"], "global", "ConverseStream", _AGENT),
        Call("sonnet46-chat", MODELS["claude-sonnet-4-6"], "global", "Converse", _CHAT),
        Call("sonnet46-invoke", MODELS["claude-sonnet-4-6"], "geo", "InvokeModel", _CACHED_BOTH),
        Call("sonnet46-converse-1h", MODELS["claude-sonnet-4-6"], "geo", "Converse", _CACHED_BOTH),
        Call(
            "sonnet46-stream",
            MODELS["claude-sonnet-4-6"],
            "geo",
            "InvokeModelWithResponseStream",
            _CACHED_BOTH,
            resource_in_bill=False,
        ),
        Call("sonnet46-profile", MODELS["claude-sonnet-4-6"], "geo", "ConverseStream", _AGENT, profile=CHECKOUT_PROFILE),
        Call("haiku45-chat", MODELS["claude-haiku-4-5"], "geo", "Converse", _CACHED_BOTH),
        Call("haiku45-stream", MODELS["claude-haiku-4-5"], "global", "ConverseStream", _AGENT),
        Call("haiku45-profile", MODELS["claude-haiku-4-5"], "global", "Converse", _CHAT, profile=RISK_PROFILE),
        Call("sonnet35-chat", MODELS["claude-3-5-sonnet"], "regional", "Converse", _BULK),
        Call("sonnet35-invoke", MODELS["claude-3-5-sonnet"], "regional", "InvokeModel", _CHAT),
        Call("sonnet4-long", MODELS["claude-sonnet-4"], "global", "InvokeModel", _LONG, resource_in_bill=False),
        Call("novapro-chat", MODELS["nova-pro"], "regional", "Converse", _CACHED_NOVA),
        Call("novapro-geo", MODELS["nova-pro"], "geo", "ConverseStream", _BULK),
        Call("novapro-invoke", MODELS["nova-pro"], "regional", "InvokeModel", _BULK),
        Call("novapro-flex", MODELS["nova-pro"], "regional", "Converse", _BULK, tier="flex", resource_in_bill=False),
        Call("novapro-priority", MODELS["nova-pro"], "regional", "Converse", _CHAT, tier="priority"),
        Call("novapro-profile", MODELS["nova-pro"], "regional", "Converse", _CACHED_NOVA, profile=GROWTH_PROFILE),
        Call("novalite-geo", MODELS["nova-lite"], "geo", "Converse", _BULK),
        Call("nova2lite-global", MODELS["nova-2-lite"], "global", "Converse", _BULK),
        Call("llama-geo", MODELS["llama-3-3-70b"], "geo", "InvokeModel", _BULK, resource_in_bill=False),
        Call(
            "titan-embed",
            MODELS["titan-embed-v2"],
            "regional",
            "InvokeModel",
            Size((500, 8_000)),
            resource_in_bill=False,
        ),
        Call("canvas", MODELS["nova-canvas"], "regional", "InvokeModel", Size((0, 0), images=(1, 5))),
        Call(
            "gpt-oss-default",
            MODELS["gpt-oss-120b"],
            "regional",
            "ChatCompletions",
            _BULK,
            resource_in_bill=False,
        ),
        Call(
            "gpt-oss-flex",
            MODELS["gpt-oss-120b"],
            "regional",
            "Responses",
            _BULK,
            tier="flex",
            resource_in_bill=False,
        ),
        Call("gpt-oss-project", MODELS["gpt-oss-120b"], "regional", "Responses", _BULK, project=DATA_PROJECT),
        Call("deepseek-project", MODELS["deepseek-v3-2"], "regional", "ChatCompletions", _BULK, project=DATA_PROJECT),
    )
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Principal:
    """One caller as the bill, the logs and CloudTrail name it.

    `team` is the true owner of its calls; `tagged_as` is the team its tags claim, `None` without tags. A session tag
    is visible in STS events; `tag_in_bill` says whether the bill shows the tag as `iamPrincipal/<tag_key>` too.
    """

    kind: PrincipalKind
    account: Account
    region: str
    name: str
    session: str = ""
    path: str = "/"
    team: str
    tagged_as: str | None = None
    tag_key: str = "team"
    sts: StsApi = ""
    tag_in_bill: bool = True
    calls: tuple[str, ...]
    weight: int = 10

    @property
    def arn(self) -> str:
        """`identity.arn`, `userIdentity.arn` and `line_item_iam_principal`."""
        account_id = self.account.account_id
        if self.kind in ("iam_user", "api_key_user"):
            return f"arn:aws:iam::{account_id}:user{self.path}{self.name}"
        if self.kind == "federated_user":
            return f"arn:aws:sts::{account_id}:federated-user/{self.name}"
        return f"arn:aws:sts::{account_id}:assumed-role/{self.name}/{self.session}"

    @property
    def issuer_arn(self) -> str:
        """The role or user that issued the session; keeps the path that `arn` drops."""
        if self.kind == "federated_user":
            return f"arn:aws:iam::{self.account.account_id}:user/federation-broker"
        return f"arn:aws:iam::{self.account.account_id}:role{self.path}{self.name}"

    @property
    def unique_id(self) -> str:
        """The IAM unique id of the user or role."""
        prefix = "AIDA" if self.kind in ("iam_user", "api_key_user") else "AROA"
        return key_id_of(prefix, self.account.account_id, self.name)

    @property
    def has_session_tag(self) -> bool:
        """Whether the owner is named by a session tag rather than by a tag on the user or role."""
        return self.tagged_as is not None and self.sts != ""


_E, _W = "us-east-1", "eu-west-1"
_SSO_PATH = "/aws-reserved/sso.amazonaws.com/us-east-1/"
_SSO_ROLE = "AWSReservedSSO_BedrockUser_9f3b7a1c5d2e4068"


def _role(
    kind: PrincipalKind,
    account: Account,
    region: str,
    name: str,
    team: str,
    *calls: str,
    tagged: bool = True,
    session: str = "",
    weight: int = 10,
) -> Principal:
    """A service role; its tags, if it has any, live on the role and appear in the bill alone."""
    sessions = {"ec2_role": "i-0" + hex_of("instance", name, digits=16), "ecs_role": hex_of("task", name, digits=32)}
    return Principal(
        kind=kind,
        account=account,
        region=region,
        name=name,
        session=session or sessions.get(kind, name),
        path="/service-role/" if kind == "lambda_role" else "/",
        team=team,
        tagged_as=team if tagged else None,
        calls=calls,
        weight=weight,
    )


def _gateway_user(account: Account, session: str, team: str, *calls: str) -> Principal:
    return Principal(
        kind="gateway_user",
        account=account,
        region=_E,
        name="BedrockCallerRole",
        session=session,
        team=team,
        tagged_as=team,
        sts="AssumeRole",
        calls=calls,
    )


def _sso(account: Account, email: str, team: str, *calls: str, tagged: bool = True, region: str = _E) -> Principal:
    return Principal(
        kind="sso_user",
        account=account,
        region=region,
        name=_SSO_ROLE,
        session=email,
        path=_SSO_PATH,
        team=team,
        tagged_as=team if tagged else None,
        sts="AssumeRoleWithSAML",
        calls=calls,
        weight=6,
    )


def _user(
    kind: PrincipalKind, account: Account, name: str, team: str, *calls: str, tagged: bool = True, path: str = "/"
) -> Principal:
    return Principal(
        kind=kind,
        account=account,
        region=_E,
        name=name,
        path=path,
        team=team,
        tagged_as=team if tagged else None,
        tag_key="Team" if name == "ci-runner" else "team",
        calls=calls,
        weight=6,
    )


def _web_identity(name: str, session: str, team: str, *calls: str) -> Principal:
    return Principal(
        kind="web_identity",
        account=PLATFORM,
        region=_E,
        name=name,
        session=session,
        team=team,
        tagged_as=team,
        sts="AssumeRoleWithWebIdentity",
        tag_in_bill=False,
        calls=calls,
    )


def _federated(name: str, team: str, *calls: str) -> Principal:
    return Principal(
        kind="federated_user",
        account=PLATFORM,
        region=_E,
        name=name,
        team=team,
        tagged_as=team,
        sts="GetFederationToken",
        calls=calls,
        weight=6,
    )


GATEWAY = _role(
    "gateway",
    PLATFORM,
    _E,
    "llm-gateway",
    "platform",
    "sonnet46-agent",
    "sonnet46-chat",
    "haiku45-stream",
    "novapro-chat",
    tagged=False,
    session="gw-prod",
    weight=290,
)

PRINCIPALS: tuple[Principal, ...] = (
    GATEWAY,
    _gateway_user(PLATFORM, "gw-user-1", "support", "haiku45-chat", "sonnet46-chat"),
    _gateway_user(PLATFORM, "gw-user-2", "support", "haiku45-chat"),
    _gateway_user(PLATFORM, "gw-user-3", "search", "novapro-chat"),
    _gateway_user(PLATFORM, "gw-user-4", "growth", "sonnet46-chat", "nova2lite-global"),
    _gateway_user(PLATFORM, "gw-user-5", "checkout", "haiku45-stream"),
    _gateway_user(DATA, "gw-tenant-acme", "support", "sonnet46-chat"),
    _gateway_user(DATA, "gw-tenant-hooli", "search", "novalite-geo"),
    _user("iam_user", PLATFORM, "alice", "search", "sonnet46-invoke", path="/engineering/search/"),
    _user("iam_user", PLATFORM, "bob", "risk", "sonnet35-invoke", "llama-geo"),
    _user("iam_user", DATA, "ci-runner", "data", "novalite-geo", "titan-embed"),
    _user("iam_user", RESEARCH, "lena.fischer", "research", "sonnet4-long", tagged=False),
    _user("iam_user", PLATFORM, "legacy-batch", "support", "sonnet35-chat", tagged=False),
    _user("api_key_user", PLATFORM, "BedrockAPIKey-7x2f", "growth", "novapro-invoke"),
    _user("api_key_user", DATA, "BedrockAPIKey-q81d", "data", "haiku45-chat"),
    _user("api_key_user", PLATFORM, "BedrockAPIKey-zz04", "checkout", "novapro-invoke", tagged=False),
    _role("lambda_role", PLATFORM, _E, "ticket-summaries", "support", "novapro-chat", "titan-embed"),
    _role("lambda_role", PLATFORM, _E, "search-embeddings", "search", "titan-embed", weight=16),
    _role("lambda_role", PLATFORM, _W, "returns-classifier", "checkout", "novalite-geo", "novapro-chat"),
    _role("lambda_role", DATA, _E, "catalogue-enrichment", "data", "novapro-flex", "nova2lite-global"),
    _role("lambda_role", PLATFORM, _E, "fraud-explanations", "risk", "novapro-priority", "haiku45-profile"),
    _role("lambda_role", PLATFORM, _E, "banner-images", "growth", "canvas"),
    _role("lambda_role", PLATFORM, _E, "checkout-assistant", "checkout", "sonnet46-profile", tagged=False),
    _role("ecs_role", PLATFORM, _E, "search-ranker", "search", "llama-geo", "haiku45-stream"),
    _role("ecs_role", PLATFORM, _W, "support-bot-eu", "support", "sonnet46-converse-1h", "novapro-geo"),
    _role("ecs_role", DATA, _W, "dwh-annotator", "data", "novapro-invoke", "sonnet46-stream"),
    _role("ecs_role", DATA, _W, "eu-feature-extractor", "growth", "novalite-geo", tagged=False),
    _role("ecs_role", PLATFORM, _E, "orphaned-worker", "platform", "novapro-chat", tagged=False),
    _role("ec2_role", RESEARCH, _E, "notebook-host", "research", "sonnet46-stream", tagged=False),
    _role("ec2_role", RESEARCH, _W, "evaluation-runner", "research", "sonnet35-chat", "llama-geo", tagged=False),
    _role("ec2_role", PLATFORM, _E, "risk-replay", "risk", "haiku45-profile", "sonnet46-invoke"),
    _role("ec2_role", DATA, _E, "etl-node", "data", "nova2lite-global", "titan-embed"),
    _sso(PLATFORM, "jane.doe@meridian.example", "search", "sonnet46-agent"),
    _sso(PLATFORM, "ravi.patel+bedrock@meridian.example", "support", "sonnet46-invoke"),
    _sso(PLATFORM, "o-neill,kim@meridian.example", "checkout", "sonnet46-chat"),
    _sso(DATA, "svc=etl.review@meridian.example", "data", "haiku45-chat"),
    _sso(PLATFORM, "sam.okafor@meridian.example", "growth", "sonnet46-chat", tagged=False),
    _sso(RESEARCH, "yuki.tanaka@meridian.example", "research", "sonnet4-long", "sonnet46-stream", tagged=False),
    _web_identity("github-deploy", "6634485805@65e4c1f7", "platform", "sonnet46-chat"),
    _web_identity("eks-recommender", "eks-prod-recommender-7f9c", "growth", "novapro-chat", "titan-embed"),
    _web_identity("eks-risk-api", "eks-prod-risk-api-41ab", "risk", "haiku45-stream"),
    _federated("partner-portal", "checkout", "novapro-chat"),
    _federated("analyst-desk", "data", "sonnet35-invoke"),
    # Role tag says platform, the profile it calls through says growth: the profile wins, platform is the loser.
    Principal(
        kind="lambda_role",
        account=DATA,
        region=_E,
        name="campaign-writer",
        session="campaign-writer",
        path="/service-role/",
        team="growth",
        tagged_as="platform",
        calls=("novapro-profile",),
    ),
    _role("ecs_role", DATA, _E, "mantle-batcher", "data", "gpt-oss-project", "deepseek-project", tagged=False),
    _role("ecs_role", PLATFORM, _E, "mantle-drafts", "support", "gpt-oss-default", "gpt-oss-flex"),
    _role("ec2_role", PLATFORM, _E, "mantle-playground", "platform", "gpt-oss-default", tagged=False),
)
