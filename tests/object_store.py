"""An S3-compatible server in this process."""

import uuid

import boto3
from moto.server import ThreadedMotoServer


def empty_bucket(monkeypatch):
    """Yield the URL of a bucket that nothing is in, with the environment that reaches it.

    For fixtures: `yield from empty_bucket(monkeypatch)`.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = uuid.uuid4().hex  # the server's memory outlives it
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    yield f"s3://{bucket}"
    server.stop()
