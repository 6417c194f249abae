-- Observations, events, what ingest must remember, and what the ledger must recompute.
-- depends: 0001.core

-- One row per observation. An exact value keeps its integer mantissa and scale beside the double that charts use, so a
-- register loses nothing and a point may be bound to a register long after it was observed.
-- No organisation here: the tables below are reached only by joining a protected point, device or register, and COPY
-- does not work on a table with row-level security.
CREATE TABLE app.observation_columns (
    point_id bigint NOT NULL,
    observed_at timestamptz NOT NULL,
    value double precision,
    mantissa bigint,
    quality smallint NOT NULL,
    scale smallint
);

-- A hypertable where TimescaleDB is there, monthly range partitions (UTC) where it is not.
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE TABLE app.observation (LIKE app.observation_columns INCLUDING ALL);
        PERFORM public.create_hypertable('app.observation', public.by_range('observed_at', INTERVAL '7 days'),
                                         create_default_indexes => false);
    ELSE
        CREATE TABLE app.observation (LIKE app.observation_columns INCLUDING ALL) PARTITION BY RANGE (observed_at);
    END IF;
END $$;
DROP TABLE app.observation_columns;
CREATE INDEX observation_point ON app.observation (point_id, observed_at);

-- Creates the monthly partitions that hold `first` to `last`; returns how many were new. A hypertable needs none.
-- Attaching takes a lock that lets writers of other months go on.
CREATE FUNCTION app.ensure_observation_partitions(first timestamptz, last timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    month timestamptz := date_trunc('month', first, 'UTC');
    name text;
    created integer := 0;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_class WHERE oid = 'app.observation'::regclass AND relkind = 'p') THEN
        RETURN 0;
    END IF;
    WHILE month <= last LOOP
        name := 'observation_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
        IF to_regclass('app.' || name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(7206144018);
            IF to_regclass('app.' || name) IS NULL THEN
                EXECUTE format('CREATE TABLE app.%I (LIKE app.observation)', name);
                EXECUTE format('ALTER TABLE app.observation ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)',
                               name, month, (month AT TIME ZONE 'UTC' + INTERVAL '1 month') AT TIME ZONE 'UTC');
                created := created + 1;
            END IF;
        END IF;
        month := (month AT TIME ZONE 'UTC' + INTERVAL '1 month') AT TIME ZONE 'UTC';
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION app.ensure_observation_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.ensure_observation_partitions TO wattlease_app;

ALTER TABLE app.latest_value ADD COLUMN exact numeric;

-- Something that happened once. `transaction_id` lets a reader follow the table without missing a late commit.
CREATE TABLE app.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    gateway_id bigint NOT NULL REFERENCES app.gateway,
    device_id bigint REFERENCES app.device,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX event_device ON app.event (device_id, occurred_at);
CREATE INDEX event_kind ON app.event (kind, occurred_at);
SELECT app.protect_by_organisation('app.event');

-- Ingest ---------------------------------------------------------------------------------------------------------

ALTER TABLE app.gateway ADD COLUMN catalogue_version bigint NOT NULL DEFAULT 0;
ALTER TABLE app.gateway ADD COLUMN agent jsonb NOT NULL DEFAULT '{}';

-- One row per outbox a gateway ever had; `settled` holds every sequence number accepted or rejected for good.
CREATE TABLE app.ingest_stream (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id bigint NOT NULL REFERENCES app.gateway,
    stream uuid NOT NULL,
    settled int8multirange NOT NULL DEFAULT '{}',
    accepted_count bigint NOT NULL DEFAULT 0,
    rejected_count bigint NOT NULL DEFAULT 0,
    last_batch_at timestamptz,
    UNIQUE (gateway_id, stream)
) WITH (fillfactor = 50);

-- Kept for inspection, the newest per stream; beyond the limit only the count remains.
CREATE TABLE app.ingest_rejection (
    stream_id bigint NOT NULL REFERENCES app.ingest_stream,
    seq bigint NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    content jsonb NOT NULL,
    rejected_at timestamptz NOT NULL,
    PRIMARY KEY (stream_id, seq)
);

-- Metering -------------------------------------------------------------------------------------------------------

-- What the ledger must recompute. Append-only, so that ingest never waits for a recomputation.
CREATE TABLE app.dirty_range (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register ON DELETE CASCADE,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at >= starts_at)
);
CREATE INDEX dirty_range_register ON app.dirty_range (register_id);

-- Binding a point late, or changing what a register means, recomputes the register's whole life, whoever did it.
CREATE FUNCTION app.register_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at) VALUES (NEW.id, '-infinity', 'infinity');
    RETURN NULL;
END $$;
CREATE TRIGGER register_is_new AFTER INSERT ON app.register FOR EACH ROW EXECUTE FUNCTION app.register_changed();
CREATE TRIGGER register_changed AFTER UPDATE ON app.register FOR EACH ROW
    WHEN ((OLD.point_id, OLD.multiplier, OLD.modulus, OLD.open_period)
          IS DISTINCT FROM (NEW.point_id, NEW.multiplier, NEW.modulus, NEW.open_period))
    EXECUTE FUNCTION app.register_changed();

CREATE FUNCTION app.reading_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT register_id, min(taken_at), max(taken_at) FROM new_reading GROUP BY register_id;
    RETURN NULL;
END $$;
CREATE TRIGGER reading_added AFTER INSERT ON app.reading
    REFERENCING NEW TABLE AS new_reading FOR EACH STATEMENT EXECUTE FUNCTION app.reading_added();

-- Every reading of a register, exact: what telemetry saw while the register was bound, and what people entered.
CREATE VIEW app.register_reading WITH (security_invoker = true) AS
SELECT r.id AS register_id, o.observed_at AS taken_at, o.mantissa::numeric * power(10::numeric, -o.scale) AS value,
       'telemetry' AS source, 'actual' AS quality
  FROM app.register r
  JOIN app.observation o ON o.point_id = r.point_id
 WHERE o.mantissa IS NOT NULL AND o.quality <= 1 AND r.open_period @> o.observed_at
UNION ALL
SELECT register_id, taken_at, value, source, quality FROM app.reading;

-- Which readings an interval was made from, and the values it had before.
ALTER TABLE app.interval ADD COLUMN source_from timestamptz;
ALTER TABLE app.interval ADD COLUMN source_to timestamptz;
CREATE TABLE app.interval_revision (
    register_id bigint NOT NULL REFERENCES app.register,
    starts_at timestamptz NOT NULL,
    revision integer NOT NULL,
    ends_at timestamptz NOT NULL,
    quantity numeric NOT NULL,
    quality text NOT NULL,
    method text NOT NULL,
    reason text NOT NULL,
    computed_at timestamptz NOT NULL,
    superseded_at timestamptz NOT NULL,
    PRIMARY KEY (register_id, starts_at, revision)
);
