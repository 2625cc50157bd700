"""Signatures for S3, against the example that its documentation works out."""

import calendar

import pytest

from rktsd.config.auth import Aws
from rktsd.images.sigv4 import region_of, sign

# "Signature Calculations for the Authorization Header", Amazon S3 API reference.
EXAMPLE = Aws("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
WHEN = calendar.timegm((2013, 5, 24, 0, 0, 0))


def signature(url: str) -> str:
    return sign(url, EXAMPLE, now=WHEN)["Authorization"].rpartition("Signature=")[2]


def test_the_documented_examples() -> None:
    base = "https://examplebucket.s3.amazonaws.com/"
    assert signature(f"{base}?lifecycle") == (
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
    assert signature(f"{base}?max-keys=2&prefix=J") == (
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_the_scope_names_day_region_and_service() -> None:
    headers = sign("https://b.s3.eu-west-1.amazonaws.com/a", EXAMPLE, now=WHEN)
    assert "/20130524/eu-west-1/s3/aws4_request, " in headers["Authorization"]
    assert headers["X-Amz-Date"] == "20130524T000000Z"
    chosen = EXAMPLE._replace(region="sa-east-1")
    assert "/sa-east-1/s3/" in sign("https://minio.example/a", chosen, now=WHEN)["Authorization"]


def test_a_path_is_encoded_once() -> None:
    base = "https://examplebucket.s3.amazonaws.com"
    assert signature(f"{base}/a%20b") == signature(f"{base}/a b")
    assert signature(f"{base}/a%2520b") != signature(f"{base}/a%20b")
    assert signature(f"{base}:443/a") == signature(f"{base}/a")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("s3.amazonaws.com", "us-east-1"),
        ("bucket.s3.amazonaws.com", "us-east-1"),
        ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("my.bucket.s3-ap-southeast-2.amazonaws.com", "ap-southeast-2"),
        ("bucket.s3.dualstack.us-west-2.amazonaws.com", "us-west-2"),
        ("bucket.s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("minio.example", "us-east-1"),
    ],
)
def test_regions_follow_from_hosts(host: str, region: str) -> None:
    assert region_of(host) == region
