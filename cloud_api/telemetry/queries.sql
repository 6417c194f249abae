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

-- name: move_latest
-- Newer wins; of two values of one instant the one received last. NaN and -1 stand for no value and not exact.
SELECT app.move_latest(%(point_id)s, %(observed_at)s, %(value)s, %(mantissa)s, %(quality)s, %(scale)s, %(received_at)s);

-- name: streams_held
-- Streams whose latest values a process took to move them soon, and that no batch left with one since.
SELECT id FROM ingest_stream WHERE latest_held_at <= now() - %(held_for)s::interval ORDER BY id;

-- name: catch_up_latest
-- The latest values of a stream's gateway become its newest observations.
SELECT app.catch_up_latest(%(stream_id)s);

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

-- name: followers
-- Who wants a copy of the batch: the evaluator of limits, the mirror.
SELECT EXISTS (SELECT FROM point_limit) AS has_limits, EXISTS (SELECT FROM mirror WHERE is_on) AS is_mirrored;

-- name: add_arrival
-- A copy of the batch for the evaluator of limits; app.accept_batches does the same for small batches.
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

-- name: add_to_mirror
-- The same for large batches as app.accept_batches does for small ones.
SELECT app.add_to_mirror(%(content)s, %(observed_at)s);

-- name: become_sole_mirror
-- One writer per database; a second one takes over when this session ends.
SELECT pg_try_advisory_lock(7206144112) AS is_mine;

-- name: switch_mirror
-- From here on ingest leaves batches, or no longer does.
UPDATE mirror SET is_on = %(is_on)s;

-- name: clear_mirror
-- What waits is given up.
DELETE FROM mirror_batch;

-- name: mirror_batches
-- Oldest first; each names its span, in case its content was left out.
SELECT id, content, first_at, last_at FROM mirror_batch ORDER BY id LIMIT %(limit)s;

-- name: mirror_page
-- What is stored between two instants, in pages of the index of one point after another.
SELECT point_id, (extract(epoch FROM observed_at) * 1000)::bigint AS at_ms, coalesce(value, 'NaN') AS value, quality
  FROM observation
 WHERE observed_at BETWEEN %(first)s AND %(last)s AND (observed_at, point_id) > (%(after_at)s, %(after_point)s)
 ORDER BY observed_at, point_id
 LIMIT %(limit)s;

-- name: mirror_written
-- Taken out only when InfluxDB has them; written twice they are the same there.
WITH gone AS (DELETE FROM mirror_batch WHERE id = ANY (%(id)s::bigint[]))
UPDATE mirror SET written_count = written_count + %(count)s, written_at = %(now)s, last_error = '';

-- name: mirror_failed
-- For people; the batches stay.
UPDATE mirror SET refused_count = refused_count + 1, last_error = %(reason)s;

-- name: mirror_state
-- How it goes.
SELECT is_on, written_count, written_at, refused_count, last_error,
       (SELECT count(*) FROM mirror_batch) AS waiting, (SELECT min(first_at) FROM mirror_batch) AS waiting_from
  FROM mirror;

-- name: point_labels
-- What a point is called, for the tags of its series.
SELECT p.id, s.code AS site, d.name AS device, p.name AS point, p.unit, p.quantity
  FROM point p
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
  JOIN site s ON s.id = g.site_id
 WHERE p.id = ANY (%(point_id)s::bigint[]);
