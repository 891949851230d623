"""Where Kafka is and as whom: defaults, Event Hubs' connection string, and what is refused how."""

from pathlib import Path

import pytest

from stingar_dagster.errors import SettingsError
from stingar_dagster.kafka.settings import load_kafka_settings

SECRET = "canarysecret/+=="
CONNECTION = (
    "Endpoint=sb://example-hubs.servicebus.windows.net/;SharedAccessKeyName=listen;"
    f"SharedAccessKey={SECRET};EntityPath=honeypots"
)
BROKERS = {"STINGAR_KAFKA_BROKERS": "broker.example.org:9092"}


def test_a_connection_string_of_event_hubs_tells_everything() -> None:
    settings = load_kafka_settings({"STINGAR_KAFKA_CONNECTION_STRING": CONNECTION})
    assert settings.topics == ("honeypots",)
    assert settings.namespace == "example-hubs"
    assert settings.librdkafka() == {
        "bootstrap.servers": "example-hubs.servicebus.windows.net:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "$ConnectionString",
        "sasl.password": CONNECTION,
    }


def test_a_broker_without_login_needs_its_address_only() -> None:
    settings = load_kafka_settings(BROKERS)
    assert (settings.topics, settings.namespace) == (("stingar",), "kafka")
    assert settings.librdkafka() == {
        "bootstrap.servers": "broker.example.org:9092",
        "security.protocol": "PLAINTEXT",
    }
    assert (settings.limits.seconds, settings.limits.size) == (300, 33_554_432)


def test_a_password_goes_encrypted_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    user = BROKERS | {"STINGAR_KAFKA_USER": "u", "STINGAR_KAFKA_PASSWORD": SECRET}
    assert load_kafka_settings(user).security == "SASL_SSL"
    clear = load_kafka_settings(user | {"STINGAR_KAFKA_SECURITY": "SASL_PLAINTEXT"})
    assert clear.security == "SASL_PLAINTEXT"
    (tmp_path / "ca.pem").touch()
    with_ca = load_kafka_settings(BROKERS | {"STINGAR_KAFKA_CA": str(tmp_path / "ca.pem")})
    assert with_ca.security == "SSL"


def test_no_secret_is_shown() -> None:
    settings = load_kafka_settings({"STINGAR_KAFKA_CONNECTION_STRING": CONNECTION})
    assert SECRET not in repr(settings)
    told = f"login as {CONNECTION} failed, key {SECRET}"
    assert SECRET not in settings.without_secrets(told)
    assert settings.without_secrets(told).startswith("login as *** failed")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "STINGAR_KAFKA_BROKERS is not set"),
        ({"STINGAR_KAFKA_BROKERS": "broker"}, "'broker' is not host:port"),
        ({"STINGAR_KAFKA_BROKERS": f"u:{SECRET}@b:1"}, "without a password"),
        ({"STINGAR_KAFKA_BROKERS": CONNECTION}, "STINGAR_KAFKA_CONNECTION_STRING"),
        ({"STINGAR_KAFKA_CONNECTION_STRING": f"SharedAccessKey={SECRET}"}, "no connection string"),
        ({"STINGAR_KAFKA_CONNECTION_STRING": f"Endpoint=sb://[{SECRET}"}, "no connection string"),
        (BROKERS | {"STINGAR_KAFKA_USER": "u"}, "STINGAR_KAFKA_PASSWORD is not set"),
        (BROKERS | {"STINGAR_KAFKA_PASSWORD": SECRET}, "STINGAR_KAFKA_USER is not set"),
        (BROKERS | {"STINGAR_KAFKA_SECURITY": "SASL_SSL"}, "set STINGAR_KAFKA_USER"),
        (BROKERS | {"STINGAR_KAFKA_SECURITY": "none"}, "is none of PLAINTEXT, SSL"),
        (BROKERS | {"STINGAR_KAFKA_CA": "/not/there.pem"}, "there is no such file"),
        (BROKERS | {"STINGAR_KAFKA_TOPICS": "a/b"}, "can't be part of a capture's name"),
        (BROKERS | {"STINGAR_KAFKA_NAMESPACE": ".x"}, "can't be part of a capture's name"),
        (BROKERS | {"STINGAR_CAPTURE_SECONDS": "901"}, "STINGAR_CAPTURE_SECONDS='901'"),
        (BROKERS | {"STINGAR_CAPTURE_BYTES": "1k"}, "STINGAR_CAPTURE_BYTES='1k'"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named_without_its_secret(
    environ: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_kafka_settings(environ)
    assert told in str(refused.value)
    assert "canarysecret" not in str(refused.value)
