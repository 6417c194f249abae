-- A mirror of observations in InfluxDB: what ingest leaves for it, while it is on. Nothing of it waits for InfluxDB.
-- depends: 0110.ingest-accept

-- One row. `written_count` counts observations; the rest is for people.
CREATE TABLE app.mirror (
    is_on boolean NOT NULL DEFAULT false,
    written_count bigint NOT NULL DEFAULT 0,
    written_at timestamptz,
    refused_count bigint NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
INSERT INTO app.mirror DEFAULT VALUES;

-- The outbox: one row per accepted batch, its content as in observation_arrival. A batch that is too large, or that
-- finds the outbox full, leaves only the span of its instants (content is null); the mirror then reads what is stored.
CREATE TABLE app.mirror_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bytea,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE app.mirror_batch ALTER COLUMN content SET STORAGE EXTERNAL;

-- Called with every batch that is stored; `p_observed_at` holds at least its first and its last instant.
CREATE FUNCTION app.add_to_mirror(p_content bytea, p_observed_at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    batches_max constant bigint := 20000;
    content_bytes_max constant integer := 50000;
BEGIN
    IF EXISTS (SELECT FROM app.mirror WHERE is_on) THEN
        INSERT INTO app.mirror_batch (content, first_at, last_at)
        SELECT CASE WHEN length(p_content) <= content_bytes_max
                     AND coalesce((SELECT max(id) FROM app.mirror_batch) - (SELECT min(id) FROM app.mirror_batch), 0)
                         < batches_max
                    THEN p_content END, min(at), max(at)
          FROM unnest(p_observed_at) at
        HAVING count(*) > 0;
    END IF;
END $$;

-- All of it in one statement, which is its own transaction: one round trip, one commit.
CREATE OR REPLACE FUNCTION app.accept_batch(
    p_stream_id bigint, p_known int8multirange, p_catalogue_version bigint, p_settled int8multirange,
    p_accepted integer, p_rejected integer, p_now timestamptz,
    p_point_id bigint[], p_observed_at timestamptz[], p_value float8[], p_mantissa bigint[], p_quality smallint[],
    p_scale smallint[], p_moves boolean[],
    p_exact_point_id bigint[], p_exact_first timestamptz[], p_exact_last timestamptz[], p_settled_before timestamptz,
    p_notices text[], p_content bytea, p_waiting_max integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.viewer_kind', 'system', true);
    PERFORM app.claim_batch(p_stream_id, p_known, p_catalogue_version, p_settled, p_accepted, p_rejected, p_now);
    PERFORM app.store_observations(p_point_id, p_observed_at, p_value, p_mantissa, p_quality, p_scale, p_moves, p_now);
    IF cardinality(p_exact_point_id) > 0 THEN
        PERFORM app.mark_dirty(p_exact_point_id, p_exact_first, p_exact_last, p_settled_before);
    END IF;
    PERFORM app.add_arrival(p_content, p_waiting_max);
    PERFORM app.add_to_mirror(p_content, p_observed_at);
    PERFORM pg_notify('live', notice) FROM unnest(p_notices) notice;
END $$;
