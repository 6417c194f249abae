-- name: find_stream
-- What is settled of a stream, and which catalogue the gateway's names are from.
SELECT s.id, s.settled, g.catalogue_version
  FROM ingest_stream s
  JOIN gateway g ON g.id = s.gateway_id
 WHERE s.gateway_id = %(gateway_id)s AND s.stream = %(stream)s;

-- name: add_stream
-- The first batch of an outbox; another process may add it at the same moment.
INSERT INTO ingest_stream (gateway_id, stream) VALUES (%(gateway_id)s, %(stream)s)
ON CONFLICT (gateway_id, stream) DO NOTHING;

-- name: claim_batches
-- Accepted and rejected numbers are settled: sent again, they change nothing. Raises WL001 when a stream or its catalogue
-- is no longer what its batch was judged by. One batch of a stream at a time; other streams go on.
SELECT app.claim_batches(%(stream_id)s, %(known)s::int8multirange[], %(catalogue_version)s,
                         %(settled)s::int8multirange[], %(accepted_count)s, %(rejected_count)s, %(holds_latest)s,
                         %(now)s);

-- name: accept_batches
-- Claim, store, mark and notify at once (migration 0170): small batches without events or rejections.
SELECT app.accept_batches(%(stream_id)s, %(known)s::int8multirange[], %(catalogue_version)s,
                          %(settled)s::int8multirange[], %(accepted_count)s, %(rejected_count)s, %(holds_latest)s,
                          %(now)s, %(point_id)s, %(observed_at)s, %(value)s, %(mantissa)s, %(quality)s, %(scale)s,
                          %(latest_point_id)s, %(latest_observed_at)s, %(latest_value)s, %(latest_mantissa)s,
                          %(latest_quality)s, %(latest_scale)s,
                          %(mark_point_id)s, %(mark_from)s, %(mark_to)s, %(mark_first)s, %(mark_last)s,
                          %(exact_point_id)s, %(exact_first)s, %(exact_last)s, %(settled_before)s, %(notices)s::text[],
                          %(content)s::bytea, %(waiting_max)s::integer);

-- name: lock_unnumbered
-- What comes without sequence numbers counts in a stream of its own, whose row is held until the commit.
INSERT INTO ingest_stream AS s (gateway_id, stream, last_batch_at) VALUES (%(gateway_id)s, %(stream)s, %(now)s)
ON CONFLICT (gateway_id, stream) DO UPDATE SET last_batch_at = EXCLUDED.last_batch_at
RETURNING s.id;

-- name: count_unnumbered
-- Only the count: there are no numbers to settle.
UPDATE ingest_stream SET accepted_count = accepted_count + %(accepted_count)s WHERE id = %(stream_id)s;

-- name: add_rejections
-- Kept for inspection; a number is rejected once.
INSERT INTO ingest_rejection (stream_id, seq, code, reason, content, rejected_at)
SELECT %(stream_id)s, t.*, %(now)s
  FROM unnest(%(seq)s::bigint[], %(code)s::text[], %(reason)s::text[], %(content)s::jsonb[]) t
ON CONFLICT DO NOTHING;

-- name: forget_rejections
-- Only the newest stay; the count of the stream keeps the whole number.
DELETE FROM ingest_rejection
 WHERE stream_id = %(stream_id)s
   AND seq IN (SELECT seq FROM ingest_rejection WHERE stream_id = %(stream_id)s
                ORDER BY rejected_at DESC, seq DESC OFFSET %(keep)s);

-- name: known_rejections
-- A number that was rejected before gets the same answer again.
SELECT seq, code, reason
  FROM ingest_rejection
 WHERE stream_id = %(stream_id)s AND seq BETWEEN %(first)s AND %(last)s
 ORDER BY seq;

-- name: rejections
-- For the page that shows what a gateway sent in vain.
SELECT g.name AS gateway, r.seq, r.code, r.reason, r.content, r.rejected_at
  FROM ingest_rejection r
  JOIN ingest_stream s ON s.id = r.stream_id
  JOIN gateway g ON g.id = s.gateway_id
 ORDER BY r.rejected_at DESC, r.seq DESC
 LIMIT %(limit)s;
