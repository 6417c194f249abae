-- How long observations, register readings, events and chart series are kept, and what was done about it.
-- depends: 0120.metering-packed-days

CREATE TABLE app.storage_kind (
    kind text PRIMARY KEY CHECK (kind IN ('raw', 'registers', 'events', 'series')),
    keep_days integer NOT NULL CHECK (keep_days BETWEEN 35 AND 36500),
    gone_before timestamptz, -- Older ones were dropped (of `raw`: the register readings among them were moved).
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz
);
INSERT INTO app.storage_kind (kind, keep_days) VALUES ('raw', 400), ('registers', 3650), ('events', 1100), ('series', 3650);

-- What the keeper of the storage did; append-only.
CREATE TABLE app.storage_journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL CHECK (action IN ('create', 'columnstore', 'move', 'drop', 'keep', 'fail')),
    kind text NOT NULL,
    name text NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    row_count bigint,
    byte_count bigint,
    note text NOT NULL DEFAULT ''
);

-- Register readings that outlive the other observations of their time. Exact values only; no key, as `observation`.
-- Sums of observations by 15 minutes and by hour, for charts: kept up by the worker, late data included.
DO $$
DECLARE
    parent text;
BEGIN
    CREATE TABLE app.kept_columns (
        point_id bigint NOT NULL,
        observed_at timestamptz NOT NULL,
        mantissa bigint NOT NULL,
        scale smallint NOT NULL,
        quality smallint NOT NULL
    );
    CREATE TABLE app.series_columns (
        point_id bigint NOT NULL,
        step_s smallint NOT NULL,
        observed_at timestamptz NOT NULL, -- The start of the step.
        count integer NOT NULL, -- Good and uncertain observations; the others below.
        total double precision,
        low double precision,
        high double precision,
        invalid_count integer NOT NULL,
        unanswered_count integer NOT NULL
    );
    FOREACH parent IN ARRAY ARRAY['kept', 'series'] LOOP
        EXECUTE format('CREATE TABLE app.observation_%s (LIKE app.%s_columns) %s', parent, parent,
            CASE WHEN EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN ''
                 ELSE 'PARTITION BY RANGE (observed_at)' END);
        EXECUTE format('DROP TABLE app.%s_columns', parent);
        IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
            PERFORM public.create_hypertable(format('app.observation_%s', parent)::regclass,
                public.by_range('observed_at', INTERVAL '90 days'), create_default_indexes => false);
        END IF;
    END LOOP;
END $$;
CREATE INDEX observation_kept_point ON app.observation_kept (point_id, observed_at);
ALTER TABLE app.observation_series ADD PRIMARY KEY (point_id, step_s, observed_at);

-- Stretches of points that the series must sum again; a batch leaves one row.
CREATE TABLE app.series_mark (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_ids bigint[] NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
);
-- Stored observations are summed for the first time by the worker as well.
INSERT INTO app.series_mark (point_ids, first_at, last_at)
SELECT array_agg(point_id), min(first_at), max(last_at)
  FROM (SELECT point_id, min(observed_at) AS first_at, max(observed_at) AS last_at
          FROM app.observation GROUP BY point_id) o
HAVING count(*) > 0;

-- Wherever register readings are kept now. Readers say `mantissa IS NOT NULL` themselves: with a condition in here the
-- planner could not walk the indexes of both tables side by side, in order of time.
CREATE VIEW app.exact_observation AS
SELECT point_id, observed_at, mantissa, scale, quality FROM app.observation
UNION ALL
SELECT point_id, observed_at, mantissa, scale, quality FROM app.observation_kept;

CREATE OR REPLACE VIEW app.register_reading WITH (security_invoker = true) AS
SELECT r.id AS register_id, o.observed_at AS taken_at, o.mantissa::numeric * power(10::numeric, -o.scale) AS value,
       'telemetry' AS source, 'actual' AS quality
  FROM app.register r
  JOIN app.exact_observation o ON o.point_id = r.point_id
 WHERE o.mantissa IS NOT NULL AND o.quality <= 1 AND r.open_period @> o.observed_at
UNION ALL
SELECT register_id, taken_at, value, source, quality FROM app.reading;

-- Before this instant the ledger is closed: the readings behind it are gone, so it must not be computed again. A day
-- more than they are, because an interval needs the readings before it.
CREATE FUNCTION app.ledger_closed_before() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT gone_before + INTERVAL '1 day' FROM app.storage_kind WHERE kind = 'registers' $$;

-- Partitions by year (UTC) of kept readings and series; hypertables need none. As ensure_observation_partitions.
CREATE FUNCTION app.ensure_year_partitions(parent text, first timestamptz, last timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    year integer;
    name text;
    created integer := 0;
BEGIN
    IF parent NOT IN ('observation_kept', 'observation_series') THEN
        RAISE EXCEPTION 'no table % is kept by year', parent;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_class WHERE oid = format('app.%I', parent)::regclass AND relkind = 'p') THEN
        RETURN 0;
    END IF;
    FOR year IN extract(year FROM first AT TIME ZONE 'UTC') .. extract(year FROM last AT TIME ZONE 'UTC') LOOP
        name := parent || '_' || year;
        IF to_regclass('app.' || name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(7206144018);
            IF to_regclass('app.' || name) IS NULL THEN
                EXECUTE format('CREATE TABLE app.%I (LIKE app.%I)', name, parent);
                EXECUTE format('ALTER TABLE app.%I ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)', parent, name,
                               make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC'));
                created := created + 1;
            END IF;
        END IF;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION app.ensure_year_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.ensure_year_partitions TO wattlease_app;

-- Which licence TimescaleDB runs under: 'timescale' has the columnstore, 'apache' has not; null without the extension.
CREATE FUNCTION app.timescale_licence() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT current_setting('timescaledb.license', true) FROM pg_extension WHERE extname = 'timescaledb' $$;

-- The pieces of the three tables: hypertable chunks or partitions, with bytes (indexes included) and rows (estimated
-- by the planner's statistics, counted where there are none).
CREATE FUNCTION app.storage_pieces()
RETURNS TABLE (parent text, name text, starts_at timestamptz, ends_at timestamptz, row_count bigint, byte_count bigint,
               is_compressed boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    counted bigint;
BEGIN
    FOR parent IN SELECT unnest(ARRAY['observation', 'observation_kept', 'observation_series']) LOOP
        FOR name, starts_at, ends_at, byte_count, is_compressed, row_count IN
            EXECUTE CASE WHEN app.timescale_licence() IS NOT NULL THEN $q$
                SELECT format('%I.%I', c.chunk_schema, c.chunk_name), c.range_start, c.range_end, s.total_bytes,
                       c.is_compressed, public.approximate_row_count(format('%I.%I', c.chunk_schema, c.chunk_name)::regclass)
                  FROM timescaledb_information.chunks c
                  JOIN public.chunks_detailed_size(format('app.%I', $1)::regclass) s
                    ON s.chunk_schema = c.chunk_schema AND s.chunk_name = c.chunk_name
                 WHERE c.hypertable_schema = 'app' AND c.hypertable_name = $1
                 ORDER BY c.range_start $q$
            ELSE $q$
                SELECT format('app.%I', c.relname), b.bound[1]::timestamptz, b.bound[2]::timestamptz,
                       pg_total_relation_size(c.oid), false, c.reltuples::bigint
                  FROM pg_inherits i
                  JOIN pg_class c ON c.oid = i.inhrelid
                 CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), $r$FROM \('(.*)'\) TO \('(.*)'\)$r$) b(bound)
                 WHERE i.inhparent = format('app.%I', $1)::regclass
                 ORDER BY b.bound[1]::timestamptz $q$
            END USING parent
        LOOP
            IF row_count <= 0 THEN
                EXECUTE format('SELECT count(*) FROM app.%I WHERE observed_at >= $1 AND observed_at < $2', parent)
                   INTO counted USING starts_at, ends_at;
                row_count := counted;
            END IF;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION app.storage_pieces FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.storage_pieces TO wattlease_app;

-- Bytes of the compressed chunks before and after; nothing where the licence has no columnstore.
CREATE FUNCTION app.columnstore_bytes(OUT parent text, OUT before_bytes bigint, OUT after_bytes bigint)
RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF app.timescale_licence() = 'timescale' THEN
        FOREACH parent IN ARRAY ARRAY['observation', 'observation_kept', 'observation_series'] LOOP
            EXECUTE 'SELECT before_compression_total_bytes, after_compression_total_bytes'
                    ' FROM public.hypertable_compression_stats(format(''app.%I'', $1)::regclass)'
               INTO before_bytes, after_bytes USING parent;
            RETURN NEXT;
        END LOOP;
    END IF;
END $$;
REVOKE ALL ON FUNCTION app.columnstore_bytes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.columnstore_bytes TO wattlease_app;

-- Has TimescaleDB compress chunks older than `after`, where the licence allows it; returns the tables that are new to it.
CREATE FUNCTION app.set_up_columnstore(after interval) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    parent text;
    enabled boolean;
BEGIN
    IF app.timescale_licence() IS DISTINCT FROM 'timescale' THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['observation', 'observation_kept', 'observation_series'] LOOP
        EXECUTE 'SELECT compression_enabled FROM timescaledb_information.hypertables'
                ' WHERE hypertable_schema = ''app'' AND hypertable_name = $1' INTO enabled USING parent;
        IF NOT enabled THEN
            EXECUTE format('ALTER TABLE app.%I SET (timescaledb.compress, timescaledb.compress_segmentby = %L,'
                           ' timescaledb.compress_orderby = ''observed_at'')', parent,
                           CASE parent WHEN 'observation_series' THEN 'point_id, step_s' ELSE 'point_id' END);
            EXECUTE format('SELECT public.add_compression_policy(%L::regclass, $1, if_not_exists => true)', 'app.' || parent)
              USING after;
            RETURN NEXT parent;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION app.set_up_columnstore FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.set_up_columnstore TO wattlease_app;

-- Drops the oldest piece of a table that ends at or before `cutoff`; of observations it moves the register readings
-- first. Returns the piece, or nothing when none is that old. Writers of the same piece wait; those of others do not
-- notice, but for the moment of the drop.
CREATE FUNCTION app.drop_oldest_piece(table_name text, cutoff timestamptz, OUT name text, OUT starts_at timestamptz,
                                      OUT ends_at timestamptz, OUT row_count bigint, OUT byte_count bigint,
                                      OUT moved_count bigint)
RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '5s' AS $$
BEGIN
    SELECT p.name, p.starts_at, p.ends_at, p.row_count, p.byte_count INTO name, starts_at, ends_at, row_count, byte_count
      FROM app.storage_pieces() p
     WHERE p.parent = table_name AND p.ends_at <= cutoff
     ORDER BY p.starts_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    moved_count := 0;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', name);
    IF table_name = 'observation' THEN
        PERFORM app.ensure_year_partitions('observation_kept', starts_at, ends_at - INTERVAL '1 microsecond');
        INSERT INTO app.observation_kept (point_id, observed_at, mantissa, scale, quality)
        SELECT o.point_id, o.observed_at, o.mantissa, o.scale, o.quality
          FROM app.observation o
         WHERE o.observed_at >= drop_oldest_piece.starts_at AND o.observed_at < drop_oldest_piece.ends_at
           AND o.mantissa IS NOT NULL;
        GET DIAGNOSTICS moved_count = ROW_COUNT;
    END IF;
    IF app.timescale_licence() IS NULL THEN
        EXECUTE format('DROP TABLE %s', name);
    ELSE
        EXECUTE format('SELECT public.drop_chunks(%L::regclass, older_than => $1, newer_than => $2)', 'app.' || table_name)
          USING ends_at, starts_at;
    END IF;
    UPDATE app.storage_kind k SET gone_before = greatest(k.gone_before, drop_oldest_piece.ends_at)
     WHERE k.kind = CASE table_name WHEN 'observation' THEN 'raw' WHEN 'observation_kept' THEN 'registers' ELSE 'series' END;
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION app.drop_oldest_piece FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.drop_oldest_piece TO wattlease_app;

CREATE INDEX event_occurred ON app.event USING brin (occurred_at);
