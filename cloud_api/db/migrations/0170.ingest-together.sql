-- Small batches of several streams are accepted by one statement, and a latest value moves about twice a second at most.
-- An API of the version before that still runs answers 500 until it is restarted; agents send those batches again.
-- depends: 0152.ingest-sparkplug-failures

-- When a batch of the stream last left its latest values with the process that took it, which moves them soon after.
-- Null: nobody holds any. What a killed process held, app.catch_up_latest finds among the observations.
ALTER TABLE app.ingest_stream ADD COLUMN latest_held_at timestamptz;

-- Takes effect only when every stream and its catalogue still are what the caller judged its batch by; otherwise raises
-- WL001, which undoes everything sent with it. Each stream is named once. The rows stay locked until the commit, so
-- batches of one stream follow each other; they are locked in order, so that two groups never wait for each other.
CREATE FUNCTION app.claim_batches(
    p_stream_id bigint[], p_known int8multirange[], p_catalogue_version bigint[], p_settled int8multirange[],
    p_accepted integer[], p_rejected integer[], p_holds_latest boolean[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    claimed integer;
BEGIN
    IF cardinality(p_stream_id) > 1 THEN
        PERFORM FROM app.ingest_stream WHERE id = ANY (p_stream_id) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    UPDATE app.ingest_stream s
       SET settled = s.settled + t.settled, accepted_count = s.accepted_count + t.accepted,
           rejected_count = s.rejected_count + t.rejected, last_batch_at = p_now,
           latest_held_at = CASE WHEN t.holds_latest THEN now() ELSE s.latest_held_at END
      FROM unnest(p_stream_id, p_known, p_catalogue_version, p_settled, p_accepted, p_rejected, p_holds_latest)
           AS t(stream_id, known, catalogue_version, settled, accepted, rejected, holds_latest),
           app.gateway g
     WHERE s.id = t.stream_id AND s.settled = t.known
       AND g.id = s.gateway_id AND g.catalogue_version = t.catalogue_version;
    GET DIAGNOSTICS claimed = ROW_COUNT;
    IF claimed < cardinality(p_stream_id) THEN
        RAISE EXCEPTION 'one of the streams % or its catalogue changed', p_stream_id USING ERRCODE = 'WL001';
    END IF;
END $$;

-- The newest row of each point, by point. Newer wins; of two values of one instant the one received last. NaN stands for
-- no value, a scale that is null or -1 for not exact. Moving a value costs half of making sure that there is one.
CREATE FUNCTION app.move_latest(
    p_point_id bigint[], p_observed_at timestamptz[], p_value float8[], p_mantissa bigint[], p_quality smallint[],
    p_scale smallint[], p_received_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved integer;
BEGIN
    UPDATE app.latest_value l
       SET observed_at = t.observed_at, value = nullif(t.value, 'NaN'),
           exact = CASE WHEN t.scale >= 0 THEN t.mantissa * power(10::numeric, -t.scale) END,
           quality = t.quality, received_at = p_received_at
      FROM (SELECT unnest(p_point_id) AS point_id, unnest(p_observed_at) AS observed_at, unnest(p_value) AS value,
                   unnest(p_mantissa) AS mantissa, unnest(p_quality) AS quality, unnest(p_scale) AS scale OFFSET 0) t
     WHERE l.point_id = t.point_id AND l.observed_at <= t.observed_at;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved < cardinality(p_point_id) THEN
        INSERT INTO app.latest_value (point_id, observed_at, value, exact, quality, received_at)
        SELECT t.point_id, t.observed_at, nullif(t.value, 'NaN'),
               CASE WHEN t.scale >= 0 THEN t.mantissa * power(10::numeric, -t.scale) END, t.quality, p_received_at
          FROM unnest(p_point_id, p_observed_at, p_value, p_mantissa, p_quality, p_scale)
               AS t(point_id, observed_at, value, mantissa, quality, scale)
         WHERE NOT EXISTS (SELECT FROM app.latest_value l WHERE l.point_id = t.point_id)
        ON CONFLICT (point_id) DO UPDATE
           SET observed_at = EXCLUDED.observed_at, value = EXCLUDED.value, exact = EXCLUDED.exact,
               quality = EXCLUDED.quality, received_at = EXCLUDED.received_at
         WHERE latest_value.observed_at <= EXCLUDED.observed_at;
    END IF;
END $$;

-- Moves the latest values of a stream's gateway to its newest observations; an index probe per point. No batch of the
-- stream is stored meanwhile, so that none is overlooked.
CREATE FUNCTION app.catch_up_latest(p_stream_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    gateway bigint;
BEGIN
    -- In the order of a batch: first the stream, then the latest values.
    SELECT gateway_id INTO gateway FROM app.ingest_stream WHERE id = p_stream_id FOR NO KEY UPDATE;
    INSERT INTO app.latest_value AS l (point_id, observed_at, value, exact, quality, received_at)
    SELECT p.id, o.observed_at, o.value, o.mantissa * power(10::numeric, -o.scale), o.quality, now()
      FROM app.device d
      JOIN app.point p ON p.device_id = d.id
      LEFT JOIN app.latest_value v ON v.point_id = p.id
     CROSS JOIN LATERAL (
           SELECT x.observed_at, x.value, x.mantissa, x.quality, x.scale
             FROM app.observation x
            WHERE x.point_id = p.id AND x.observed_at > coalesce(v.observed_at, '-infinity')
            ORDER BY x.observed_at DESC
            LIMIT 1) o
     WHERE d.gateway_id = gateway
     ORDER BY p.id
    ON CONFLICT (point_id) DO UPDATE
       SET observed_at = EXCLUDED.observed_at, value = EXCLUDED.value, exact = EXCLUDED.exact,
           quality = EXCLUDED.quality, received_at = EXCLUDED.received_at
     WHERE l.observed_at < EXCLUDED.observed_at;
    UPDATE app.ingest_stream SET latest_held_at = NULL WHERE id = p_stream_id;
END $$;

-- Small batches without events and rejections, all of it in one statement, which is its own transaction: one round trip,
-- one commit. The rows of the latest values are those that move now; a mark covers the points from `p_mark_from` to
-- `p_mark_to` of `p_mark_point_id`. Returns whether somebody follows what is stored; when they do and the copy of the
-- rows for them was left out, raises WL002.
CREATE FUNCTION app.accept_batches(
    p_stream_id bigint[], p_known int8multirange[], p_catalogue_version bigint[], p_settled int8multirange[],
    p_accepted integer[], p_rejected integer[], p_holds_latest boolean[], p_now timestamptz,
    p_point_id bigint[], p_observed_at timestamptz[], p_value float8[], p_mantissa bigint[], p_quality smallint[],
    p_scale smallint[],
    p_latest_point_id bigint[], p_latest_observed_at timestamptz[], p_latest_value float8[], p_latest_mantissa bigint[],
    p_latest_quality smallint[], p_latest_scale smallint[],
    p_mark_point_id bigint[], p_mark_from integer[], p_mark_to integer[], p_mark_first timestamptz[],
    p_mark_last timestamptz[],
    p_exact_point_id bigint[], p_exact_first timestamptz[], p_exact_last timestamptz[], p_settled_before timestamptz,
    p_notices text[], p_content bytea, p_waiting_max integer
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    followed boolean;
BEGIN
    PERFORM set_config('app.viewer_kind', 'system', true);
    followed := EXISTS (SELECT FROM app.point_limit) OR EXISTS (SELECT FROM app.mirror WHERE is_on);
    IF followed AND p_content IS NULL THEN
        RAISE EXCEPTION 'the copy for those who follow is missing' USING ERRCODE = 'WL002';
    END IF;
    PERFORM app.claim_batches(p_stream_id, p_known, p_catalogue_version, p_settled, p_accepted, p_rejected,
                              p_holds_latest, p_now);
    -- unnest stands where its rows are streamed; in FROM each array would become a tuplestore first.
    INSERT INTO app.observation (point_id, observed_at, value, mantissa, quality, scale)
    SELECT t.point_id, t.observed_at, nullif(t.value, 'NaN'), CASE WHEN t.scale >= 0 THEN t.mantissa END, t.quality,
           CASE WHEN t.scale >= 0 THEN t.scale END
      FROM (SELECT unnest(p_point_id) AS point_id, unnest(p_observed_at) AS observed_at, unnest(p_value) AS value,
                   unnest(p_mantissa) AS mantissa, unnest(p_quality) AS quality, unnest(p_scale) AS scale) t;
    IF cardinality(p_latest_point_id) > 0 THEN
        PERFORM app.move_latest(p_latest_point_id, p_latest_observed_at, p_latest_value, p_latest_mantissa,
                                p_latest_quality, p_latest_scale, p_now);
    END IF;
    INSERT INTO app.series_mark (point_ids, first_at, last_at)
    SELECT p_mark_point_id[t.from_place:t.to_place], t.first, t.last
      FROM unnest(p_mark_from, p_mark_to, p_mark_first, p_mark_last) AS t(from_place, to_place, first, last);
    IF cardinality(p_exact_point_id) > 0 THEN
        PERFORM app.mark_dirty(p_exact_point_id, p_exact_first, p_exact_last, p_settled_before);
    END IF;
    IF followed THEN
        PERFORM app.add_arrival(p_content, p_waiting_max);
        PERFORM app.add_to_mirror(p_content, p_observed_at);
    END IF;
    PERFORM pg_notify('live', notice) FROM unnest(p_notices) notice;
    RETURN followed;
END $$;

DROP FUNCTION app.accept_batch;
DROP FUNCTION app.store_observations;
DROP FUNCTION app.claim_batch;
