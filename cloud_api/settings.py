"""Every environment variable of the cloud processes, typed. Nothing else reads the environment."""

from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the API, the worker and the commands; each field is `CLOUD_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="CLOUD_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="PostgreSQL address of the role wattlease_app (no BYPASSRLS).")
    owner_database_url: SecretStr | None = Field(
        default=None, description="Address of the role wattlease_owner; needed by `cloud-api migrate` only."
    )
    superuser_database_url: SecretStr | None = Field(
        default=None, description="Address of a superuser, for `cloud-api bootstrap` only."
    )
    grafana_database_password: SecretStr | None = Field(
        default=None, description="Password of the role wattlease_grafana, for `cloud-api bootstrap` only."
    )
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = "http://127.0.0.1:8000"
    data_dir: Path = Path(".run/cloud")
    default_time_zone: str = "Asia/Shanghai"
    default_currency: str = "CNY"
    pool_size_max: int = 10
    ingest_observations_per_second: float = Field(
        default=200_000, gt=0, description="What one gateway may send in the long run; faster is answered 429."
    )
    ingest_observations_burst: float = Field(
        default=4_000_000, gt=0, description="What one gateway may send at once, such as the backlog of an outage."
    )
    ingest_batches_at_work: int = Field(default=8, ge=1, description="Batches that one API process handles at a time.")
    ingest_batches_waiting: int = Field(
        default=32, ge=1, description="Batches under way in one API process; one more is answered 503."
    )
    mqtt_url: SecretStr | None = Field(
        default=None, description="Broker for `cloud-api sparkplug`, such as mqtts://user:password@broker:8883."
    )
    sparkplug_host_id: str = Field(
        default="wattlease",
        description="Name of the host application, which edge nodes may name as their primary host.",
    )
    fault_rules_folder: Path | None = Field(
        default=None, description="Folder with own fault rules (*.yaml), beside the shipped ones."
    )
    influx_url: str | None = Field(
        default=None,
        description="InfluxDB 2 that `cloud-api mirror` copies observations to, such as http://127.0.0.1:8086.",
    )
    influx_token: SecretStr = SecretStr("")
    influx_org: str = "wattlease"
    influx_bucket: str = "wattlease"
    demo_control_url: str | None = Field(
        default=None, description="Control channel of a simulated building; with it the console shows the demo page."
    )

    @field_validator("default_time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        ZoneInfo(value)
        return value


def load_settings() -> Settings:
    """Read the environment once; a missing or wrong value stops the start with the whole list."""
    try:
        return Settings()  # pyright: ignore[reportCallIssue]  # The fields come from the environment.
    except ValidationError as error:
        lines = [
            f"  CLOUD_{'_'.join(str(p) for p in e['loc']).upper()}: {e['msg']}" for e in error.errors(include_url=False)
        ]
        raise SystemExit("The cloud's settings are incomplete:\n" + "\n".join(lines)) from error
