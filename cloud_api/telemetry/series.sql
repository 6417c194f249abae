-- name: mark
-- Points whose sums must be made again between two instants.
INSERT INTO series_mark (point_ids, first_at, last_at) VALUES (%(point_id)s, %(first)s, %(last)s);

-- name: lock
-- One worker sums at a time; the lock ends with the transaction.
SELECT pg_try_advisory_xact_lock(hashtextextended('series', 0)) AS is_mine;

-- name: state
-- Until when everything that came in time is summed.
SELECT summed_until FROM series_state;

-- name: set_state
-- In the transaction that summed until then.
UPDATE series_state SET summed_until = %(until)s;

-- name: sum_all
-- All points, one stretch of time.
SELECT sum_series(NULL, %(first)s, %(after)s);

-- name: take_marks
-- The oldest marks; they are deleted or shortened in the same transaction.
SELECT id, point_ids, first_at, last_at FROM series_mark ORDER BY id LIMIT %(limit)s;

-- name: sum_some
-- Some points, one stretch of time.
SELECT sum_series(%(point_id)s::bigint[], %(first)s, %(after)s);

-- name: forget_marks
-- Marks that were worked off.
DELETE FROM series_mark WHERE id = ANY (%(ids)s::bigint[]);

-- name: shorten_mark
-- A long mark is worked off piece by piece.
UPDATE series_mark SET first_at = %(first)s WHERE id = %(id)s;

-- name: horizon
-- What a chart of a point must know: until when its sums can be relied on, and since when there are observations.
SELECT least((SELECT summed_until FROM series_state),
             (SELECT min(first_at) FROM series_mark WHERE point_ids @> ARRAY[%(point_id)s::bigint])) AS summed_until,
       (SELECT gone_before FROM storage_kind WHERE kind = 'raw') AS raw_since;

-- name: from_observations
-- The course of a point from its observations.
SELECT date_bin(%(step)s::interval, o.observed_at, %(origin)s::timestamptz) AS starts_at,
       avg(o.value) FILTER (WHERE o.quality <= 1) AS mean, min(o.value) FILTER (WHERE o.quality <= 1) AS low,
       max(o.value) FILTER (WHERE o.quality <= 1) AS high, count(o.value) FILTER (WHERE o.quality <= 1) AS count,
       count(*) FILTER (WHERE o.quality = 2) AS invalid_count, count(*) FILTER (WHERE o.quality = 3) AS unanswered_count
  FROM observation o
  JOIN point p ON p.id = o.point_id
 WHERE o.point_id = %(point_id)s AND o.observed_at >= %(start)s AND o.observed_at < %(end)s
 GROUP BY 1
 ORDER BY 1;

-- name: from_sums
-- The course of a point from the sums, and from the observations where nothing is summed yet.
SELECT date_bin(%(step)s::interval, x.observed_at, %(origin)s::timestamptz) AS starts_at,
       sum(x.total) / nullif(sum(x.count), 0) AS mean, min(x.low) AS low, max(x.high) AS high,
       sum(x.count)::bigint AS count, sum(x.invalid_count)::bigint AS invalid_count,
       sum(x.unanswered_count)::bigint AS unanswered_count
  FROM (SELECT s.observed_at, s.total, s.low, s.high, s.count, s.invalid_count, s.unanswered_count
          FROM observation_series s
         WHERE s.point_id = %(point_id)s AND s.step_s = %(level)s
           AND s.observed_at >= %(start)s AND s.observed_at < %(tail)s
        UNION ALL
        SELECT o.observed_at, g.value, g.value, g.value, (g.value IS NOT NULL)::integer, (o.quality = 2)::integer,
               (o.quality = 3)::integer
          FROM observation o
         CROSS JOIN LATERAL (SELECT CASE WHEN o.quality <= 1 THEN o.value END AS value) g
         WHERE o.point_id = %(point_id)s AND o.observed_at >= %(tail)s AND o.observed_at < %(end)s) x
 WHERE EXISTS (SELECT FROM point p WHERE p.id = %(point_id)s)
 GROUP BY 1
 ORDER BY 1;

-- name: why_silent
-- What the point's gateway said: outbox overflows (numbers that will never come), and when it was last heard.
SELECT array(SELECT e.occurred_at FROM event e
              WHERE e.gateway_id = g.id AND e.kind = 'outbox.overflow' AND e.occurred_at >= %(start)s
                AND e.occurred_at < %(end)s ORDER BY e.occurred_at LIMIT 1000) AS overflows,
       array(SELECT e.occurred_at FROM event e
              WHERE e.device_id = d.id AND e.kind = 'device.state' AND e.data ->> 'state' = 'offline'
                AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s ORDER BY e.occurred_at LIMIT 1000) AS offline,
       g.last_seen_at
  FROM point p
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
 WHERE p.id = %(point_id)s;
