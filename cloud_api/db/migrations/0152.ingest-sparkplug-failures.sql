-- Sparkplug messages whose handling failed: kept for inspection, the newest thousand.
-- depends: 0151.metering-shared-marks

CREATE TABLE app.sparkplug_failure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    failed_at timestamptz NOT NULL,
    topic text NOT NULL,
    reason text NOT NULL,
    payload_bytes integer NOT NULL,
    payload bytea NOT NULL -- The first 64 KiB.
);
