-- Sums of observations for charts follow the data: what comes in time by the clock, what comes late by marks.
-- depends: 0121.telemetry-storage 0110.ingest-accept

-- One row: every quarter of an hour before `summed_until` has been summed for all points.
CREATE TABLE app.series_state (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    summed_until timestamptz NOT NULL
);
-- What is stored today stands in the mark of the migration before.
INSERT INTO app.series_state (summed_until) VALUES (date_bin('15 minutes', now(), 'epoch'));

-- Sums a stretch again from the observations, for some points or for all (null): by 15 minutes, then by hour. Where the
-- observations were dropped, what was summed before stays. Returns how many sums were written.
CREATE FUNCTION app.sum_series(p_point_ids bigint[], p_first timestamptz, p_after timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    written bigint;
    gone timestamptz := (SELECT coalesce(gone_before, '-infinity') FROM app.storage_kind WHERE kind = 'raw');
BEGIN
    PERFORM app.ensure_year_partitions('observation_series', p_first, p_after);
    INSERT INTO app.observation_series AS s (point_id, step_s, observed_at, count, total, low, high, invalid_count,
                                             unanswered_count)
    SELECT o.point_id, 900, date_bin('15 minutes', o.observed_at, 'epoch'), count(o.value) FILTER (WHERE o.quality <= 1),
           sum(o.value) FILTER (WHERE o.quality <= 1), min(o.value) FILTER (WHERE o.quality <= 1),
           max(o.value) FILTER (WHERE o.quality <= 1), count(*) FILTER (WHERE o.quality = 2),
           count(*) FILTER (WHERE o.quality = 3)
      FROM app.observation o
     WHERE o.observed_at >= date_bin('15 minutes', p_first, 'epoch') AND o.observed_at < p_after
       AND (p_point_ids IS NULL OR o.point_id = ANY (p_point_ids))
     GROUP BY 1, 3
    ON CONFLICT (point_id, step_s, observed_at) DO UPDATE
       SET count = EXCLUDED.count, total = EXCLUDED.total, low = EXCLUDED.low, high = EXCLUDED.high,
           invalid_count = EXCLUDED.invalid_count, unanswered_count = EXCLUDED.unanswered_count
     WHERE s.observed_at >= gone;
    GET DIAGNOSTICS written = ROW_COUNT;
    INSERT INTO app.observation_series AS s (point_id, step_s, observed_at, count, total, low, high, invalid_count,
                                             unanswered_count)
    SELECT q.point_id, 3600, date_bin('1 hour', q.observed_at, 'epoch'), sum(q.count), sum(q.total), min(q.low),
           max(q.high), sum(q.invalid_count), sum(q.unanswered_count)
      FROM app.observation_series q
     WHERE q.step_s = 900 AND q.observed_at >= date_bin('1 hour', p_first, 'epoch')
       AND q.observed_at < date_bin('1 hour', p_after - INTERVAL '1 microsecond', 'epoch') + INTERVAL '1 hour'
       AND (p_point_ids IS NULL OR q.point_id = ANY (p_point_ids))
     GROUP BY 1, 3
    ON CONFLICT (point_id, step_s, observed_at) DO UPDATE
       SET count = EXCLUDED.count, total = EXCLUDED.total, low = EXCLUDED.low, high = EXCLUDED.high,
           invalid_count = EXCLUDED.invalid_count, unanswered_count = EXCLUDED.unanswered_count;
    RETURN written;
END $$;

-- As before, and a batch that comes late leaves a mark: its points are the rows of `p_moves`.
CREATE OR REPLACE FUNCTION app.store_observations(
    p_point_id bigint[], p_observed_at timestamptz[], p_value float8[], p_mantissa bigint[], p_quality smallint[],
    p_scale smallint[], p_moves boolean[], p_received_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := (SELECT min(t) FROM unnest(p_observed_at) t);
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
    IF first < p_received_at - INTERVAL '1 minute' THEN
        INSERT INTO app.series_mark (point_ids, first_at, last_at)
        SELECT array_agg(t.point_id) FILTER (WHERE t.moves), first, max(t.observed_at)
          FROM unnest(p_point_id, p_observed_at, p_moves) AS t(point_id, observed_at, moves);
    END IF;
END $$;
