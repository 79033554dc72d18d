"""Clients of S3, Google Cloud Storage and Azure, with the credentials of who asks.

The libraries look into the environment too: what is given here comes before that.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from obstore.store import AzureStore, GCSStore, S3Store

from convoy_py.restic.errors import BadLocation
from convoy_py.restic.stores.objects import Client
from convoy_py.restic.stores.urls import Location

if TYPE_CHECKING:
    from obstore.store import AzureConfig, GCSConfig, S3Config

_REGION = "us-east-1"  # what services other than AWS go by


def maker(
    location: Location, credentials: Mapping[str, str], *, path_style: bool
) -> Callable[..., Client]:
    """What builds a client of this place from `client_options` and `retry_config`."""
    match location.scheme:
        case "s3":
            return _s3(location, credentials, path_style=path_style)
        case "gs":
            return _google(location, credentials)
        case _:
            return _azure(location, credentials)


def _s3(
    location: Location, credentials: Mapping[str, str], *, path_style: bool
) -> Callable[..., Client]:
    given = _first(credentials, "AWS_REGION", "AWS_DEFAULT_REGION")
    region = location.region or given or _REGION
    endpoint = location.endpoint or f"https://s3.{region}.amazonaws.com"
    if not path_style:
        endpoint = endpoint.replace("://", f"://{location.bucket}.", 1)
    config: S3Config = {
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "region": region,
        "virtual_hosted_style_request": not path_style,
        "disable_bulk_delete": True,  # not everything that calls itself S3 has it
    }
    key = _first(credentials, "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")
    secret = _first(credentials, "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
    make = partial(S3Store, location.bucket, prefix=location.path or None, config=config)
    if key and secret:
        token = credentials.get("AWS_SESSION_TOKEN") or None
        return partial(
            make,
            # Not as configuration, beside which a token of the environment would be used.
            credential_provider=lambda: {
                "access_key_id": key,
                "secret_access_key": secret,
                "token": token,
                "expires_at": None,
            },
        )
    if key or secret or location.endpoint:
        raise BadLocation(
            f"{location} needs credentials: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return make


def _google(location: Location, credentials: Mapping[str, str]) -> Callable[..., Client]:
    make = partial(GCSStore, location.bucket, prefix=location.path or None)
    if token := credentials.get("GOOGLE_ACCESS_TOKEN"):
        return partial(make, credential_provider=lambda: {"token": token, "expires_at": None})
    config: GCSConfig = {}
    if file := credentials.get("GOOGLE_APPLICATION_CREDENTIALS"):
        config["application_credentials"] = file
    return partial(make, config=config)


def _azure(location: Location, credentials: Mapping[str, str]) -> Callable[..., Client]:
    account = credentials.get("AZURE_ACCOUNT_NAME")
    if not account:
        raise BadLocation(f"{location} needs credentials: give AZURE_ACCOUNT_NAME")
    config: AzureConfig = {"account_name": account}
    if suffix := credentials.get("AZURE_ENDPOINT_SUFFIX"):
        config["endpoint"] = f"https://{account}.blob.{suffix}"
    if key := credentials.get("AZURE_ACCOUNT_KEY"):
        config["account_key"] = key
    elif sas := credentials.get("AZURE_ACCOUNT_SAS"):
        config["sas_key"] = sas.removeprefix("?")
    return partial(AzureStore, location.bucket, prefix=location.path or None, config=config)


def _first(credentials: Mapping[str, str], *names: str) -> str:
    return next((found for name in names if (found := credentials.get(name))), "")
