-- name: copy_observations
-- The columns of telemetry/columns.py, in that order.
COPY observation (point_id, observed_at, value, mantissa, quality, scale) FROM STDIN (FORMAT BINARY);

-- name: ensure_partitions
-- Returns how many months were new; in a transaction of its own, before the rows that need them.
SELECT app.ensure_observation_partitions(%(first)s, %(last)s);

-- name: known_places
-- Which of these rows have an observation of the same point and instant already.
SELECT t.place - 1
  FROM unnest(%(point_id)s::bigint[], %(observed_at)s::timestamptz[]) WITH ORDINALITY AS t(point_id, observed_at, place)
 WHERE t.observed_at BETWEEN %(first)s AND %(last)s
   AND EXISTS (SELECT FROM observation o
                WHERE o.point_id = t.point_id AND o.observed_at = t.observed_at
                  AND o.observed_at BETWEEN %(first)s AND %(last)s);

-- name: upsert_latest
-- Newer wins; of two values of one instant the one received last. NaN and -1 stand for no value and not exact.
INSERT INTO latest_value AS l (point_id, observed_at, value, exact, quality, received_at)
SELECT t.point_id, t.observed_at, nullif(t.value, 'NaN'),
       CASE WHEN t.scale >= 0 THEN t.mantissa * power(10::numeric, -t.scale) END, t.quality, %(received_at)s
  FROM unnest(%(point_id)s::bigint[], %(observed_at)s::timestamptz[], %(value)s::float8[], %(mantissa)s::bigint[],
              %(quality)s::smallint[], %(scale)s::smallint[])
       AS t(point_id, observed_at, value, mantissa, quality, scale)
ON CONFLICT (point_id) DO UPDATE
   SET observed_at = EXCLUDED.observed_at, value = EXCLUDED.value, exact = EXCLUDED.exact,
       quality = EXCLUDED.quality, received_at = EXCLUDED.received_at
 WHERE l.observed_at <= EXCLUDED.observed_at;

-- name: add_events
-- Events have no natural key; the sequence numbers of the stream keep them from being stored twice.
INSERT INTO event (organisation_id, gateway_id, device_id, kind, occurred_at, received_at, data)
SELECT %(organisation_id)s, %(gateway_id)s, t.*
  FROM unnest(%(device_id)s::bigint[], %(kind)s::text[], %(occurred_at)s::timestamptz[],
              %(received_at)s::timestamptz[], %(data)s::jsonb[]) t;

-- name: event_is_known
-- Told again with the same words.
SELECT EXISTS (SELECT FROM event
                WHERE gateway_id = %(gateway_id)s AND device_id IS NOT DISTINCT FROM %(device_id)s::bigint
                  AND kind = %(kind)s AND occurred_at = %(occurred_at)s AND data = %(data)s::jsonb);

-- name: notify_live
-- Delivered at commit to every process that listens; PostgreSQL limits a payload to 8000 bytes.
SELECT pg_notify('live', payload) FROM unnest(%(payload)s::text[]) payload;

-- name: latest_values
-- The newest value of each point, with what the point is.
SELECT l.point_id, l.observed_at, l.value, l.exact, l.quality, l.received_at, d.id AS device_id, d.name AS device,
       p.name AS point, p.quantity, p.unit
  FROM latest_value l
  JOIN point p ON p.id = l.point_id
  JOIN device d ON d.id = p.device_id
 WHERE l.point_id = ANY (%(point_id)s::bigint[]);

-- name: events_after
-- Follow the table: only transactions older than every running one, so that no late commit is jumped over.
SELECT id, organisation_id, gateway_id, device_id, kind, occurred_at, received_at, data
  FROM event
 WHERE id > %(after)s AND kind = ANY (%(kinds)s::text[])
   AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY id
 LIMIT %(limit)s;

-- name: live_values
-- What the live pages draw, by organisation.
SELECT p.organisation_id, l.point_id, l.value, l.quality, l.observed_at
  FROM latest_value l
  JOIN point p ON p.id = l.point_id
 WHERE l.point_id = ANY (%(point_id)s::bigint[]);

-- name: add_arrival
-- A copy of the batch for the evaluator of limits; app.accept_batch does the same for small batches.
SELECT app.add_arrival(%(content)s, %(waiting_max)s);

-- name: take_arrivals
-- Oldest first; what another transaction has not committed yet comes with the next turn.
WITH taken AS (
    DELETE FROM observation_arrival
     WHERE id IN (SELECT id FROM observation_arrival ORDER BY id LIMIT %(limit)s) RETURNING id, content)
SELECT content FROM taken ORDER BY id;

-- name: waiting_arrivals
-- Counted by the ends of the index.
SELECT coalesce((SELECT max(id) FROM observation_arrival) - (SELECT min(id) FROM observation_arrival) + 1, 0);

-- name: forget_arrivals
-- Too many to be read one by one.
DELETE FROM observation_arrival;
