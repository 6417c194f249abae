-- A small batch is accepted by one statement: settle its numbers, append, move latest values, mark the ledger, notify.
-- The sender says what it believes of the stream; the database objects when that is no longer true.
-- depends: 0101.metering-ledger 0310.alarms-limits

-- Takes effect only when the stream and the catalogue still are what the caller judged the batch by; otherwise raises
-- WL001, which undoes everything sent with it. The row stays locked until the commit, so batches of one stream follow
-- each other.
CREATE FUNCTION app.claim_batch(
    p_stream_id bigint, p_known int8multirange, p_catalogue_version bigint, p_settled int8multirange,
    p_accepted integer, p_rejected integer, p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE app.ingest_stream s
       SET settled = s.settled + p_settled, accepted_count = s.accepted_count + p_accepted,
           rejected_count = s.rejected_count + p_rejected, last_batch_at = p_now
      FROM app.gateway g
     WHERE s.id = p_stream_id AND s.settled = p_known
       AND g.id = s.gateway_id AND g.catalogue_version = p_catalogue_version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'stream % or its catalogue changed', p_stream_id USING ERRCODE = 'WL001';
    END IF;
END $$;

-- Append observations and move the latest value of their points by the rows of `p_moves`; a point without a latest
-- value is left without one. NaN and -1 stand for no value and not exact; newer wins, of one instant the later row.
CREATE FUNCTION app.store_observations(
    p_point_id bigint[], p_observed_at timestamptz[], p_value float8[], p_mantissa bigint[], p_quality smallint[],
    p_scale smallint[], p_moves boolean[], p_received_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.observation (point_id, observed_at, value, mantissa, quality, scale)
    SELECT t.point_id, t.observed_at, nullif(t.value, 'NaN'), CASE WHEN t.scale >= 0 THEN t.mantissa END, t.quality,
           CASE WHEN t.scale >= 0 THEN t.scale END
      FROM unnest(p_point_id, p_observed_at, p_value, p_mantissa, p_quality, p_scale)
           AS t(point_id, observed_at, value, mantissa, quality, scale);
    UPDATE app.latest_value l
       SET observed_at = t.observed_at, value = nullif(t.value, 'NaN'),
           exact = CASE WHEN t.scale >= 0 THEN t.mantissa * power(10::numeric, -t.scale) END,
           quality = t.quality, received_at = p_received_at
      FROM unnest(p_point_id, p_observed_at, p_value, p_mantissa, p_quality, p_scale, p_moves)
           AS t(point_id, observed_at, value, mantissa, quality, scale, moves)
     WHERE t.moves AND l.point_id = t.point_id AND l.observed_at <= t.observed_at;
END $$;

-- Only registers that were bound to the point at that time have anything to recompute. While an interval is still far
-- from its end, one mark is enough for it: nobody works on it before it is over.
CREATE FUNCTION app.mark_dirty(
    p_point_id bigint[], p_first timestamptz[], p_last timestamptz[], p_settled_before timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT r.id, t.first, t.last
      FROM unnest(p_point_id, p_first, p_last) AS t(point_id, first, last)
      JOIN app.register r ON r.point_id = t.point_id AND r.open_period && tstzrange(t.first, t.last, '[]')
      JOIN app.meter m ON m.id = r.meter_id
     CROSS JOIN LATERAL date_bin(make_interval(mins => m.interval_minutes), t.first, timestamptz 'epoch') slot(starts_at)
     WHERE slot.starts_at + make_interval(mins => m.interval_minutes) <= p_settled_before
        OR NOT EXISTS (SELECT 1 FROM app.dirty_range d
                        WHERE d.register_id = r.id AND d.starts_at BETWEEN slot.starts_at AND t.first);
END $$;

-- A copy of the batch for the evaluator of limits, while there are limits; its queue is bounded.
CREATE FUNCTION app.add_arrival(p_content bytea, p_waiting_max integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM app.point_limit)
       AND coalesce((SELECT max(id) FROM app.observation_arrival) - (SELECT min(id) FROM app.observation_arrival), 0)
           < p_waiting_max THEN
        INSERT INTO app.observation_arrival (content) VALUES (p_content);
        PERFORM pg_notify('arrival', '');
    END IF;
END $$;

-- All of it in one statement, which is its own transaction: one round trip, one commit.
CREATE FUNCTION app.accept_batch(
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
    PERFORM pg_notify('live', notice) FROM unnest(p_notices) notice;
END $$;
